"""Loads of the kernel's memory, each of one kind and in a cgroup of its own, renewed all the time or at
rest."""

import itertools
import mmap
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.kernel.privileges import raise_memlock_if_needed
from tests.live.objects import HASH, NO_PREALLOC, PERCPU_HASH, bpf_map, memory_maps
from tests.live.workloads import fill_pipes, held_in, touch_sparsely

_DESCRIPTORS = 1 << 14
_PORTIONS = 97
"""That each load keeps at a time."""
_PAUSE_SECONDS = 0.02
"""Between two portions of a load that are made, kept for no longer than that takes, and dropped."""
_BUSY = 10
"""A load takes one part in so many of a CPU at most, on a machine that is slow too."""
_RENEWED_EACH = 5
"""Of so many, one takes the place of the oldest that is kept: all of them are replaced in ten seconds."""
_IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Load:
    make: Callable[[Path], Any]
    """Makes one portion, of some 50 KB of kernel memory; it may make files in that folder."""
    drop: Callable[[Any], object]


def _files(folder: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=folder))
    for number in range(41):
        (made / str(number)).touch()
    return made


def _datagrams(_: Path) -> list[socket.socket]:
    """Seven unread ones for each socket: ten are as many as one takes."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(5)]
    for sender, _receiver in pairs * 7:
        sender.send(bytes(100))
    return [end for pair in pairs for end in pair]


def _sockets(_: Path) -> list[socket.socket]:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    return [socket.socket(socket.AF_INET, kind) for kind in kinds for _ in range(7)]


def _threads(_: Path) -> tuple[threading.Event, list[threading.Thread]]:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    return end, threads


def _end_threads(made: tuple[threading.Event, list[threading.Thread]]) -> None:
    end, threads = made
    end.set()
    for thread in threads:
        thread.join()


def _close_all(made: list[Any]) -> None:
    for one in made:
        one.close() if isinstance(one, socket.socket) else os.close(one)


LOADS = {
    "pipes": Load(lambda _: [end for pipe in fill_pipes(17) for end in pipe], _close_all),
    "files": Load(_files, shutil.rmtree),
    "datagrams": Load(_datagrams, _close_all),
    "sockets": Load(_sockets, _close_all),
    "threads": Load(_threads, _end_threads),
    "page-tables": Load(lambda _: touch_sparsely(13), mmap.mmap.close),
    "memory-maps": Load(lambda _: memory_maps(101), mmap.mmap.close),
    "event-descriptors": Load(lambda _: [os.eventfd(0) for _ in range(101)], _close_all),
    "hash": Load(lambda _: bpf_map(HASH, 499), os.close),
    "hash-as-needed": Load(lambda _: bpf_map(HASH, 499, NO_PREALLOC, fill=199), os.close),
    "per-cpu-hash": Load(lambda _: bpf_map(PERCPU_HASH, 211, NO_PREALLOC, fill=101), os.close),
}


class Running:
    """The loads that are held."""

    def __init__(self) -> None:
        self._renewed = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the processes
        self.names: list[str] = []

    def renew(self, *, on: bool) -> None:
        self._renewed[0] = on

    def keep(self, load: Load, folder: Path) -> deque[Any]:
        """Makes all portions, and renews the oldest one again and again while that is wanted."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
        raise_memlock_if_needed()
        kept = deque(load.make(folder) for _ in range(_PORTIONS))
        threading.Thread(target=self._renew, args=(load, folder, kept), daemon=True).start()
        return kept

    def _renew(self, load: Load, folder: Path, kept: deque[Any]) -> None:
        for turn in itertools.count():
            begin = time.monotonic()
            if self._renewed[0]:
                made = load.make(folder)
                if turn % _RENEWED_EACH == 0:
                    kept.append(made)
                    made = kept.popleft()
                load.drop(made)
            time.sleep(max(_PAUSE_SECONDS, (_BUSY - 1) * (time.monotonic() - begin)))


@contextmanager
def running_loads(hierarchy: MemoryHierarchy) -> Iterator[Running]:
    """All loads that this kernel lets be made, each in a cgroup `kmemtrace-account-PID-NAME`, at rest."""
    running = Running()
    with ExitStack() as stack:
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_IN_MEMORY)))
        for name, load in LOADS.items():
            folder = stack.enter_context(_cgroup(hierarchy, name))
            try:
                stack.enter_context(held_in(folder, partial(running.keep, load, files)))
            except AssertionError as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
            else:
                running.names.append(folder.name)
        yield running


@contextmanager
def _cgroup(hierarchy: MemoryHierarchy, name: str) -> Iterator[Path]:
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")
    folder = hierarchy.mount / f"kmemtrace-account-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()
