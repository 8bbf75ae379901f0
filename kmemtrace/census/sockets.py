"""What sockets' buffers are charged to each cgroup, by the kernel's own count: no page tells whose it is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.socket import SocketCounterLayout, SocketLayout, socket_layout
from kmemtrace.census.memcgs import Memcgs, statistics
from kmemtrace.census.memory import KernelMemory
from kmemtrace.cgroups.boot_options import CMDLINE, values
from kmemtrace.kernel.facts import Facts

NOT_COUNTED = (
    "cgroup v1 counts what sockets' buffers are charged only of a cgroup whose "
    "memory.kmem.tcp.limit_in_bytes was written, and of the sockets that it made since"
)


class Sockets:
    """Knows where their count is."""

    def __init__(self, memory: KernelMemory, facts: Facts, *, v1: bool) -> None:
        """`v1`: whether memory is accounted by cgroup v1."""
        self._memory = memory
        self._layout, why = _layout(facts, CMDLINE, v1=v1)
        self.unseen: str | None = why
        """Why not all of them were read the last time; None where they were."""

    def read(self, memcgs: Memcgs) -> list[int | None]:
        """Pages of each cgroup itself, without its children's; None where they are not counted.

        To be read right after the cgroups were: of one that is freed meanwhile the count may be anything.
        """
        if self._layout is None:
            return [None] * len(memcgs.addresses)
        if not isinstance(self._layout, SocketCounterLayout):
            counts = statistics(self._memory, self._layout, memcgs.addresses).astype("i8")
            return list(_own(counts, memcgs, np.ones(len(counts), "?")))
        found = _read_counters(self._memory, self._layout, memcgs)
        self.unseen = NOT_COUNTED if None in found[1:] else None  # the root's are never counted
        return found


def sockets_refusal(facts: Facts, cmdline: Path = CMDLINE, *, v1: bool) -> str | None:
    """Why they cannot be had, or not of each cgroup; None where they can."""
    layout, why = _layout(facts, cmdline, v1=v1)
    return NOT_COUNTED if isinstance(layout, SocketCounterLayout) else why


def _layout(facts: Facts, cmdline: Path, *, v1: bool) -> tuple[SocketLayout | None, str | None]:
    """And why there is none."""
    if not v1 and "nosocket" in values("cgroup.memory", cmdline):
        return None, "this kernel charges no sockets' buffers (cgroup.memory=nosocket on its command line)"
    try:
        return socket_layout(facts, v1=v1), None
    except UnknownLayoutError as error:
        return None, f"where this kernel counts what sockets' buffers are charged is not known: {error}"


def _read_counters(memory: KernelMemory, layout: SocketCounterLayout, memcgs: Memcgs) -> list[int | None]:
    addresses = memcgs.addresses
    counts = memory.words(addresses, layout.usage).astype("i8")
    # Up to 5.10 a cgroup's may be added to the root's alone (memory.use_hierarchy).
    above = addresses[memcgs.parents] + np.uint64(layout.counter)
    own = _own(counts, memcgs, memory.words(addresses, layout.parent) == above)
    flags = memory.words(addresses, layout.active & ~7) >> np.uint64(8 * (layout.active % 8))
    active = (flags & np.uint64(0xFF)) != 0
    return [pages if counted else None for pages, counted in zip(own, active.tolist(), strict=True)]


def _own(counts: NDArray[np.int64], memcgs: Memcgs, added: NDArray[np.bool_]) -> list[int]:
    """Of counts of each one with those below it, each one's own; `added`: to its parent's.

    Unlike kernel memory, what the sockets of a removed cgroup are charged stays with it. What changes while
    the counts are read, or was not flushed yet, may make the children's more than their parent's.
    """
    own, below = counts.copy(), np.where(added, counts, 0)
    below[0] = 0  # the root is nobody's child
    np.subtract.at(own, memcgs.parents, below)
    return [max(0, pages) for pages in own.tolist()]
