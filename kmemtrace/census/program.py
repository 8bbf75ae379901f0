"""Compiles the programs that read the kernel's memory, and loads them (probes/census.bpf.c)."""

from contextlib import AbstractContextManager

from kmemtrace.kernel.layout import Defines, kernel_version
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import program_text

SOURCE = "census.bpf.c"
PROGRAMS = ("note_current", "copy_memory", "follow_memory", "gather_memory")
COPY = 1 << 20
"""Bytes of one copy. It takes 100 µs, in which the CPU does nothing else on some kernels."""
GATHERED = 1 << 13
"""Bound of the bytes from one address; a reading must ask for less, as the program masks the size."""
ADDRESSES = 1 << 11
"""Most addresses that are read from at a time."""


def compile_ahead(release: str) -> AbstractContextManager[bool]:
    """Begins to compile what prepared() returns for the same release, while this is entered."""
    return Programs.compile_ahead(program_text(SOURCE), {}, _defines(release))


def prepared(release: str) -> Programs:
    """Compiles the programs, makes their maps, and begins to load them.

    Args:
        release: The kernel's release, as `uname -r` gives it.

    Raises:
        CannotError: BPF cannot be had.
    """
    programs = Programs(program_text(SOURCE), {}, _defines(release))
    programs.begin_loading(PROGRAMS)
    return programs


def _defines(release: str) -> Defines:
    return kernel_version(release) | {
        "CENSUS_BYTES": COPY,
        "CENSUS_ADDRESSES": ADDRESSES,
        "CENSUS_GATHERED": GATHERED,
    }
