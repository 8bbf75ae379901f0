"""A page whose number is known: that of a file with a single page, which user space has mapped.

Where no symbol tells where the struct pages begin, one struct page and its number do. The kernel's side goes
from the file's descriptor to its struct page, by PATH.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.layout import Defines

_PAGEMAP = Path("/proc/self/pagemap")
_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1
"""Bits of an entry of pagemap; the frame is 0 for who lacks CAP_SYS_ADMIN."""
_ENTRY = struct.Struct("=Q")

_PATH = (
    ("OFF_TASK_FILES", "task_struct", "files"),
    ("OFF_FILES_TABLE", "files_struct", "fdt"),
    ("OFF_TABLE_FILES", "fdtable", "fd"),
    ("OFF_FILE_MAPPING", "file", "f_mapping"),
    ("OFF_MAPPING_PAGE", "address_space", "i_pages.xa_head"),
)
"""The last has the page itself where a file has only its first (4.20: an xarray)."""


@dataclass(frozen=True, slots=True)
class KnownPage:
    file: int
    """Its descriptor."""
    address: int
    """Where it is mapped."""

    def frame(self) -> int | None:
        """Returns its number, which is another once the kernel has moved it; None where it is not told."""
        with _PAGEMAP.open("rb", buffering=0) as pagemap:
            pagemap.seek(self.address // mmap.PAGESIZE * _ENTRY.size)
            (entry,) = _ENTRY.unpack(pagemap.read(_ENTRY.size))
        return entry & _FRAME or None if entry & _PRESENT else None


def page_path(facts: Facts) -> Defines | None:
    """Returns the offsets that lead from a task to the page of its file; None where one is not known."""
    found = {name: facts.offset(type_, field) for name, type_, field in _PATH}
    return {name: at for name, at in found.items() if at is not None} if None not in found.values() else None


@contextmanager
def known_page() -> Iterator[KnownPage]:
    """Makes the file, and maps it.

    Raises:
        OSError: It cannot be made.
    """
    file = os.memfd_create("kmemtrace-page")
    try:
        os.truncate(file, mmap.PAGESIZE)
        with mmap.mmap(file, mmap.PAGESIZE) as memory:
            memory[0] = 1
            yield KnownPage(file, _address_of(memory))
    finally:
        os.close(file)


def _address_of(memory: mmap.mmap) -> int:
    first = ctypes.c_char.from_buffer(memory)
    try:
        return ctypes.addressof(first)
    finally:
        del first
