"""Two kinds of page traffic, timed per page: one that asks for no accounting, one that does."""

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
    """Un-accounted: anonymous memory, given back and taken again. The page tables stay, so no
    page of the kernel's own is allocated."""

    def __init__(self, pages: int = 32768) -> None:
        self._pages = pages
        self._memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        self._memory.madvise(_MADV_POPULATE_WRITE)

    def __call__(self, pages: int) -> int:
        rounds = -(-pages // self._pages)
        for _ in range(rounds):
            self._memory.madvise(mmap.MADV_DONTNEED)
            self._memory.madvise(_MADV_POPULATE_WRITE)
        return rounds * self._pages


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
