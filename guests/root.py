"""The files of a foreign guest: Debian's packages of its architecture, and the locked ones of Python's.

Other guests have this machine's own files, whose programs do not run there. Nor can packages be configured
here: they are unpacked, and what little of their scripts' work is needed is done for them.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from guests.architectures import Architecture
from guests.debian import CACHE, NotToBeHadError, unpack_with_depends
from guests.interpreters import Python, debians

SUITE = "trixie"
PYTHON = "3.13"
"""That suite's."""
COMPILED = "compiled"
"""The folder in it that has what Python would have to compile first, which emulated takes minutes."""
_PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "hostname", "mawk"),
    *("sed", "mount", "util-linux", "procps", "kmod", "iproute2"),
    *("busybox-static", "python3", "python3-bpfcc", "bpftool"),
)
_TESTS = ("hypothesis", "iniconfig", "packaging", "pluggy", "pytest", "sortedcontainers")
"""Those of requirements-dev.lock that tests run with; the others are linters, and peers."""
_WHEELS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Which wheels run on that suite, the newest first."""
_CHECKOUT = Path(__file__).parents[1]
_OURS = ("kmemtrace", "tests", "bench", "dashboards", "guests")
_NOT_IMPORTED = "/(test|tests|idlelib|turtledemo|ensurepip)/"
_LINKS = {"usr/bin/awk": "mawk", "usr/sbin/poweroff": "../bin/busybox"}
_COPIES = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
}


def root_of(architecture: Architecture) -> Path:
    """That root from the cache, or made anew; also when the locks name other versions than are in it.

    Raises NotToBeHadError.
    """
    root = CACHE / f"root-{architecture.name}"
    wanted = "\n".join((*_PACKAGES, *_LINKS, _runtime_lock(), locked(_TESTS, _dev_lock())))
    stamp = root / "complete"
    with tempfile.TemporaryDirectory() as folder:
        python = debians(PYTHON, Path(folder))
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            _make(root, architecture, python)
            stamp.write_text(wanted)
        _compile(root, python, [_CHECKOUT / name for name in _OURS])
    return root


def _make(root: Path, architecture: Architecture, python: Python) -> None:
    unpack_with_depends(SUITE, _PACKAGES, root, architecture)
    for name, to in _LINKS.items():
        (root / name).symlink_to(to)
    for name, source in _COPIES.items():
        shutil.copy(root / source, root / name)
    _install_wheels(root, architecture)
    _compile(root, python, [root / "usr"])
    # Where it is in the guest.
    (root / COMPILED / root.relative_to("/") / "usr").rename(root / COMPILED / "usr")


def _compile(root: Path, python: Python, sources: list[Path]) -> None:
    """Compiles what has changed since. What cannot be compiled, nobody can import either."""
    environment = os.environ | python.environment | {"PYTHONPYCACHEPREFIX": str(root / COMPILED)}
    command = [str(python.command), "-m", "compileall", "-qq"]
    for source in sources:
        of_root = ["-s", str(root), "-p", "/", "-x", _NOT_IMPORTED] if source.is_relative_to(root) else []
        subprocess.run([*command, *of_root, str(source)], check=False, env=environment)


def _runtime_lock() -> str:
    return (_CHECKOUT / "requirements-report.lock").read_text()


def _dev_lock() -> str:
    return (_CHECKOUT / "requirements-dev.lock").read_text()


def locked(names: tuple[str, ...], lock: str) -> str:
    """The part of a lock that is about these packages, with their hashes."""
    parts = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(part for part in parts if part.partition("==")[0] in names)


def _install_wheels(root: Path, architecture: Architecture) -> None:
    """Puts the locked packages where that suite's Python looks for those that are not Debian's."""
    tests = root / "tests.lock"
    tests.write_text(locked(_TESTS, _dev_lock()))
    for lock in (_CHECKOUT / "requirements-report.lock", tests):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
                *(
                    f"--target={root}/usr/local/lib/python{PYTHON}/dist-packages",
                    f"--python-version={PYTHON}",
                ),
                *(f"--platform={wheel}_{architecture.machine}" for wheel in _WHEELS),
                *("--only-binary=:all:", "--no-deps", "--require-hashes", "--root-user-action=ignore"),
                *("-r", str(lock)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            last = done.stderr.strip().rpartition("\n")[2]
            raise NotToBeHadError(f"what kmemtrace needs is not there for {architecture.name}: {last}")
