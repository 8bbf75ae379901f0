"""Bare roots of Debian, kept in the user's cache, and commands run in them without changing them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from guests import debian

CACHE = debian.CACHE.parent / "roots"
SUITES = ("bookworm", "trixie")
BARE = ("python3-bpfcc", "python3-venv", "man-db", "pipx")
"""What kmemtrace depends on, and what it is installed and read with."""
BUILDER = ("python3-bpfcc", "python3-venv", "make", "ca-certificates", "debhelper", "fakeroot", "lintian")
CERTIFICATES = Path("/etc/ssl/certs")

# In a namespace of its own, so that no mount is left, however it ends.
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


def bare(suite: str) -> Path:
    return _made(suite, suite, BARE)


def builder(suite: str) -> Path:
    return _made(f"{suite}-build", suite, BUILDER)


def _made(name: str, suite: str, packages: tuple[str, ...]) -> Path:
    """That root from the cache, or made anew from where this machine's apt gets Debian."""
    root = CACHE / name
    if not root.exists():
        half = CACHE / f"{name}.half"
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        include = f"--include={','.join(packages)}"
        command = ["debootstrap", "--variant=minbase", f"--keyring={debian.KEYRING}", include]
        subprocess.run([*command, suite, str(half), debian.mirror()], check=True, stdout=subprocess.DEVNULL)
        half.rename(root)
    return root


class Root:
    """One of them, with what commands write in a folder of its own."""

    def __init__(self, lower: Path, work: Path, bound: Mapping[str, Path] | None = None) -> None:
        self._lower, self._work = lower, work
        self._bound = {str(CERTIFICATES): CERTIFICATES, **(bound or {})}
        for name in ("upper", "work", "root"):
            (work / name).mkdir()

    def bind(self, inside: str, outside: Path) -> None:
        """Has commands see a folder of this machine."""
        outside.mkdir(parents=True, exist_ok=True)
        self._bound[inside] = outside

    def run(
        self, script: str, status: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of the shell there, as root, and asserts how it ends."""
        for outside in self._bound.values():
            outside.mkdir(parents=True, exist_ok=True)
        own = {
            "LOWER": str(self._lower),
            "WORK": str(self._work),
            "BOUND": " ".join(f"{inside}={outside}" for inside, outside in self._bound.items()),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
            "PIP_CERT": str(CERTIFICATES / "ca-certificates.crt"),
        }
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, script]
        done = subprocess.run(
            command,
            env=own | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

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
