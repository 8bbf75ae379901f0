"""Work for the page allocator, timed by its unit: pages that ask for no accounting, pages that do, and the
work that makes and ends processes, whose stacks and page tables are charged."""

import ctypes
import fcntl
import mmap
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAGE = mmap.PAGESIZE
_MADV_POPULATE_WRITE = 23
_F_SETPIPE_SZ = 1031
_PIPE_PAGES = 256
_ENDS_WITHIN_SECONDS = 60.0

Traffic = Callable[[int], int]
"""Does at least so many units of its work, such as pages through the allocator and back; answers how many."""


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


class PipeOnEachCpu:
    """Accounted: a pipe filled and drained on each of two CPUs at once, so that both charge the same cgroup
    from the same call site."""

    def __init__(self) -> None:
        self._cpus = sorted(os.sched_getaffinity(0))[:2]
        self._pipes = [Pipe() for _ in self._cpus]
        self._threads = ThreadPoolExecutor(len(self._cpus))
        for cpu in self._threads.map(self._settle, self._cpus):
            assert cpu in self._cpus

    @staticmethod
    def _settle(cpu: int) -> int:
        time.sleep(0.1)  # until each thread has one
        os.sched_setaffinity(0, {cpu})
        return cpu

    def __call__(self, pages: int) -> int:
        each = -(-pages // len(self._pipes))
        return sum(self._threads.map(lambda pipe: pipe(each), self._pipes))


_CHILD = """
import os, sys
for _ in range(int(sys.argv[1])):
    child = {start}
    os.waitpid(child, 0)
"""


class Forks:
    """A small process forks; its child ends at once."""

    start = "os.fork() or os._exit(0)"

    def __call__(self, count: int) -> int:
        command = [sys.executable, "-E", "-S", "-c", _CHILD.format(start=self.start), str(count)]
        subprocess.run(command, check=True)
        return count


class Execs(Forks):
    """A small process starts a program that ends at once."""

    start = "os.posix_spawn('/bin/true', ['true'], {})"


@dataclass(frozen=True)
class Cost:
    """What a unit of work took, in seconds."""

    wall: float
    cpu: float
    """Of this process and of the children that ended meanwhile."""


def cost_per_unit(traffic: Traffic, units: int) -> Cost:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    done = traffic(units)
    return Cost((time.perf_counter() - wall) / done, (_cpu_seconds() - cpu) / done)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def memory_cgroup(mount: Path) -> Iterator[None]:
    """This process in a memory cgroup of its own, so that what it asks for is charged."""
    before = mount / _own_cgroup().lstrip("/")
    folder = mount / f"kmemtrace-bench-{os.getpid()}"
    control = mount / "cgroup.subtree_control"
    if control.exists():  # v2: else the root cgroup is charged, which is to say nobody
        control.write_text("+memory")
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
        remove_cgroup(folder)


def remove_cgroup(folder: Path) -> None:
    """Removes a cgroup, which a process that has just ended keeps for a moment."""
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


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
