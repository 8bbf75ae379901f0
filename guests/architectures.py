"""The architectures whose kernels are booted: what Debian and QEMU call each, and how it is emulated."""

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    name: str
    """Debian's, which virtme-ng has as well."""
    machine: str
    """As uname -m gives it."""
    qemu: str
    """The name of its emulator."""
    qemu_packages: tuple[str, ...]
    qemu_options: str = ""
    """What its guests are started with besides."""

    @property
    def foreign(self) -> bool:
        """Whether this machine's own programs do not run there."""
        return self.machine != platform.machine()


AMD64 = Architecture(
    "amd64",
    "x86_64",
    "qemu-system-x86_64",
    ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"),
)
ARM64 = Architecture(
    "arm64",
    "aarch64",
    "qemu-system-aarch64",
    ("qemu-system-arm", "qemu-system-common", "qemu-system-data"),
    # It has atomic instructions (LSE), and no pointer authentication, which is slow to emulate.
    "-cpu neoverse-n1 -accel tcg,thread=multi",
)
ARCHITECTURES = {one.name: one for one in (AMD64, ARM64)}
