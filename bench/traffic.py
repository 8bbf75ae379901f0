"""Two kinds of page traffic, timed per page: one that asks for no accounting, one that does."""

import ctypes
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = mmap.PAGESIZE
_MADV_POPULATE_WRITE = 23
_F_SETPIPE_SZ = 1031
_PIPE_PAGES = 256

Traffic = Callable[[int], int]
"""Moves at least so many pages through the allocator and back; answers how many."""


class Anonymous:
    """Un-accounted: anonymous memory, given back and taken again. One page in each page table
    stays, since 6.14 frees empty tables too (CONFIG_PT_RECLAIM), and tables are accounted."""

    def __init__(self, tables: int = 64) -> None:
        self._tables, self._span = tables, PAGE * (PAGE // 8)
        size = (tables + 1) * self._span
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        self._memory.madvise(_MADV_POPULATE_WRITE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first = -address % self._span

    def __call__(self, pages: int) -> int:
        each = self._span - PAGE
        rounds = -(-pages * PAGE // (self._tables * each))
        for _ in range(rounds):
            for advice in (mmap.MADV_DONTNEED, _MADV_POPULATE_WRITE):
                for table in range(self._tables):
                    self._memory.madvise(advice, self._first + table * self._span + PAGE, each)
        return rounds * self._tables * each // PAGE


class Pipe:
    """Accounted: a pipe filled and drained. One page of each filling is kept by the pipe and used
    again, so the others are what is counted."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        fcntl.fcntl(self._write, _F_SETPIPE_SZ, _PIPE_PAGES * PAGE)
        self._data = b"\0" * (_PIPE_PAGES * PAGE)

    def __call__(self, pages: int) -> int:
        rounds = -(-pages // _PIPE_PAGES)
        for _ in range(rounds):
            os.write(self._write, self._data)
            os.read(self._read, len(self._data))
        return rounds * _PIPE_PAGES


def seconds_per_page(traffic: Traffic, pages: int) -> float:
    begin = time.perf_counter()
    moved = traffic(pages)
    return (time.perf_counter() - begin) / moved


@contextmanager
def memory_cgroup(mount: Path) -> Iterator[None]:
    """This process in a memory cgroup of its own, so that what it asks for is charged."""
    before = mount / _own_cgroup().lstrip("/")
    folder = mount / f"kmemtrace-bench-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
        folder.rmdir()


def _own_cgroup() -> str:
    """Path of this process's memory cgroup, v1 or v2."""
    unified = "/"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
        if controllers == "":
            unified = path
    return unified
