"""Bare roots of Debian, kept in the user's cache, and commands run in them without changing them."""

import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from guests import debian

CACHE = debian.CACHE.parent / "roots"
SUITES = ("bookworm", "trixie")
BARE = ("python3-bpfcc", "python3-venv", "man-db", "pipx")
"""What kmemtrace depends on, and what it is installed and read with."""
NEW = ("make", "sudo")
"""What the README asks of a machine."""
BUILDER = ("python3-bpfcc", "python3-venv", "make", "ca-certificates", "debhelper", "fakeroot", "lintian")
BUILDING = {"PIP_CACHE_DIR": "/var/cache/pip", "LANG": "C.UTF-8", "DPKG_DEB_COMPRESSOR_LEVEL": "0"}
"""Packages that are installed once and thrown away are not compressed for minutes."""
_CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
_CERTIFICATES_INSIDE = "/media"
"""Not where Debian has them: a package that is installed there writes them anew."""
_OWN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}

# Both in a namespace of its own, so that no mount is left, however it ends.
_ENTER = """
set -e
mount -t overlay overlay -o lowerdir="$LOWER",upperdir="$WORK/upper",workdir="$WORK/work" "$WORK/root"
mount -t proc proc "$WORK/root/proc"
for folder in /sys /dev; do mount --rbind $folder "$WORK/root$folder"; done
for pair in $BOUND; do
    mkdir -p "$WORK/root${pair%%=*}"
    mount --bind "${pair#*=}" "$WORK/root${pair%%=*}"
done
exec chroot "$WORK/root" sh -ec "$0"
"""
_INSTALL = """
set -e
mount -t proc proc "$ROOT/proc"
chroot "$ROOT" apt-get -q update
exec chroot "$ROOT" apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$0" "$@"
"""
_INSIDE = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER)


def bare(suite: str) -> Path:
    return _made(suite, "bare", BARE)


def new(suite: str) -> Path:
    return _made(suite, "new", NEW)


def builder(suite: str) -> Path:
    return _made(suite, "build", BUILDER)


def _made(suite: str, name: str, packages: tuple[str, ...]) -> Path:
    """That root from the cache, or made anew from where this machine's apt gets Debian."""
    root = CACHE / f"{suite}-{name}"
    if not root.exists():
        half = root.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run(["cp", "--archive", _smallest(suite), half], check=True)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _INSTALL, *packages]
        subprocess.run(command, env=_OWN | {"ROOT": str(half)}, check=True, stdout=subprocess.DEVNULL)
        half.rename(root)
    return root


def _smallest(suite: str) -> Path:
    """What debootstrap makes. It knows nothing of virtual packages, so that all others are apt's."""
    root = CACHE / f"{suite}-minbase"
    if not root.exists():
        half = root.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--keyring={debian.KEYRING}", suite, str(half)]
        subprocess.run([*command, debian.mirror()], check=True, stdout=subprocess.DEVNULL)
        half.rename(root)
    return root


class Root:
    """One of them, with what commands write in a folder of its own."""

    def __init__(self, lower: Path, work: Path, bound: Mapping[str, Path] | None = None) -> None:
        self._lower, self._work = lower, work
        self._bound = {_CERTIFICATES_INSIDE: work / "certificates", **(bound or {})}
        for name in ("upper", "work", "root", "certificates"):
            (work / name).mkdir()
        shutil.copy(_CERTIFICATES, work / "certificates" / "all.crt")

    def bind(self, inside: str, outside: Path) -> None:
        """Has commands see a folder of this machine."""
        outside.mkdir(parents=True, exist_ok=True)
        self._bound[inside] = outside

    def run(
        self, script: str, status: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of the shell there, as root, and asserts how it ends."""
        done = subprocess.run(
            [*_INSIDE, script],
            env=self._environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def type(self, command: str, shown: str, key: str, environment: Mapping[str, str] | None = None) -> str:
        """Runs a command in a terminal there, and types a key once it shows something.

        Returns all that it showed.
        """
        script = f"exec script -qefc {shlex.quote(f'stty rows 40 cols 140; {command}')} /dev/null"
        screen, until = b"", time.monotonic() + 3600
        with subprocess.Popen(
            [*_INSIDE, script],
            env=self._environment() | {"TERM": "xterm-256color"} | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                while time.monotonic() < until and select.select([process.stdout], [], [], 600)[0]:
                    read = os.read(process.stdout.fileno(), 1 << 16)
                    if not read:
                        break
                    screen += read
                    if shown.encode() in screen and not process.stdin.closed:
                        process.stdin.write(key.encode())
                        process.stdin.close()
                else:
                    process.kill()
            except BaseException:
                process.kill()  # else what runs there outlives a Ctrl-C
                raise
        text = screen.decode(errors="replace")
        assert (process.returncode, shown in text) == (0, True), text[-4000:]
        return text

    def _environment(self) -> dict[str, str]:
        for outside in self._bound.values():
            outside.mkdir(parents=True, exist_ok=True)
        return _OWN | {
            "LOWER": str(self._lower),
            "WORK": str(self._work),
            "BOUND": " ".join(f"{inside}={outside}" for inside, outside in self._bound.items()),
            "PIP_CERT": f"{_CERTIFICATES_INSIDE}/all.crt",
        }

    def changed(self) -> set[str]:
        """Every path that is there and was not in the bare root, or that is another or removed."""
        upper = self._work / "upper"
        return {f"/{path.relative_to(upper)}" for path in upper.rglob("*") if self._differs(path)}

    def _differs(self, path: Path) -> bool:
        before = self._lower / path.relative_to(self._work / "upper")
        if path.is_char_device():  # how an overlay notes that something is removed
            return os.path.lexists(before)
        if path.is_dir() and not path.is_symlink():
            return not before.is_dir()
        if path.is_symlink():
            return not before.is_symlink() or path.readlink() != before.readlink()
        return not before.is_file() or path.read_bytes() != before.read_bytes()

    def has(self, path: str) -> bool:
        return os.path.lexists(self._work / "upper" / path.lstrip("/"))
