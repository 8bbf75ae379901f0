"""The QEMU that boots guests: this machine's own or, where that is too old, Debian's backport of a newer."""

import functools
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from guests.architectures import AMD64, Architecture
from guests.debian import CACHE, NotToBeHadError, unpack

_SOUND = (8, 1)
"""Before, QEMU may run an instruction that another of the guest's CPUs is just rewriting, as kernels do when
a static key is switched: https://bugzilla.redhat.com/show_bug.cgi?id=2216496, mended by deba78709ae8
(accel/tcg: Always lock pages before translation). The guest's kernel dies of it, of an int3 that nobody
set."""
_BACKPORTED_TO = "bookworm"


@dataclass(frozen=True)
class Qemu:
    binary: Path
    sound: bool


@functools.cache
def qemu(architecture: Architecture) -> Qemu:
    """Raises NotToBeHadError where there is none; an unsound one is named on stderr."""
    own = shutil.which(architecture.qemu)
    if own is not None and _sound(Path(own)):
        return Qemu(Path(own), sound=True)
    try:
        newer = _backport(architecture)
    except NotToBeHadError as error:
        if own is None:
            raise NotToBeHadError(f"there is no {architecture.qemu} here: {error}") from None
        print(f"guests may die of a flaw of this machine's old QEMU: {error}", file=sys.stderr)
        return Qemu(Path(own), sound=False)
    return Qemu(newer, sound=True)


def _backport(architecture: Architecture) -> Path:
    """That of Debian; what else it needs comes with the machine's own qemu-system-x86."""
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != _BACKPORTED_TO:
        raise NotToBeHadError("no newer one is known for this distribution")
    folder = CACHE / ("qemu" if architecture is AMD64 else f"qemu-{architecture.name}")
    unpack(f"{_BACKPORTED_TO}-backports", architecture.qemu_packages, folder)
    binary = folder / "usr" / "bin" / architecture.qemu
    if not _sound(binary):
        raise NotToBeHadError("its backport does not start here")
    return binary


def _sound(binary: Path) -> bool:
    said = subprocess.run([binary, "--version"], check=False, capture_output=True, text=True).stdout
    return version(said) >= _SOUND


def version(said: str) -> tuple[int, ...]:
    """From what `qemu --version` says; empty when it says something else."""
    found = re.match(r"QEMU emulator version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else ()
