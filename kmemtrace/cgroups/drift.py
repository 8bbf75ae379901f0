"""Compares a cgroup's memory counter with what the kernel says it counts."""

import os
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.cgroups.mounts import MemoryHierarchy

_STOCK_PAGES = 64
"""Pages that each CPU may have charged ahead: MEMCG_CHARGE_BATCH (32 before 5.14)."""
_STOCKS = 7
"""Of how many cgroups a CPU may have charged ahead at a time: NR_MEMCG_STOCK, since 6.16; of one before."""
_BYTES_PAGES = 2
"""Pages that each CPU may have charged ahead for objects smaller than a page, and rounding."""
_KERNEL_PAGES = 8
"""Pages for each CPU by which kernel memory and its parts may be apart: what is charged ahead for objects,
and statistics on their way."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What a tracer says of the pages of a cgroup and those below it, in base pages."""

    held: int
    lost: int
    """Pages that ended without an uncharge."""
    taken: int
    """Pages that were uncharged without a charge."""


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """A cgroup's kernel memory by the kernel's own count, and what of it is known, in base pages."""

    charged: int
    known: Mapping[str, int]
    slack: int
    told_apart: bool
    """Whether the kernel says how much of it are slab objects: cgroup v1 does not."""

    @property
    def unexplained(self) -> int:
        """Pages that are charged and that nothing explains.

        It is negative where some are known twice, as an array too large for a slab is, whose pages the kernel
        counts among its slabs.
        """
        return self.charged - sum(self.known.values())

    @property
    def is_explained(self) -> bool:
        return self.unexplained <= self.slack


@dataclass(frozen=True, slots=True)
class Counter:
    """A cgroup's charge counter and its breakdown, in base pages."""

    charged: int
    parts: Mapping[str, int]
    slack: int
    """How many pages the counter and the sum of its parts may legally be apart."""
    kernel: KernelMemory | None
    """The kernel memory in it; None where the kernel does not count that by itself: on cgroup v2 before
    5.18."""

    @property
    def drift(self) -> int:
        """Pages that are charged and that nothing explains; negative where fewer are charged."""
        return self.charged - sum(self.parts.values())

    @property
    def drifted(self) -> bool:
        return abs(self.drift) > self.slack


def read_counter(hierarchy: MemoryHierarchy, folder: Path, traced: Traced) -> Counter | None:
    """Reads the counter of a cgroup, which includes those below it.

    Statistics lag by up to 2 s: read it twice, that far apart, before believing in a drift.

    Args:
        hierarchy: The hierarchy of the memory controller.
        folder: The cgroup's folder.
        traced: What a tracer says of the same cgroups.

    Returns:
        The counter; None where a part of it is not told.
    """
    cpus = os.cpu_count() or 1
    slack = cpus * _stocks(folder) * (_STOCK_PAGES + _BYTES_PAGES)
    try:
        stat = _numbers(folder / "memory.stat")
        if hierarchy.version == 2:
            charged = int((folder / "memory.current").read_text(encoding="ascii"))
            return _of_v2(charged // _PAGE, {n: v // _PAGE for n, v in stat.items()}, traced, slack)
        charged, kmem = (
            int((folder / f"memory{which}.usage_in_bytes").read_text(encoding="ascii")) // _PAGE
            for which in ("", ".kmem")
        )
        parts = {name: stat[f"total_{name}"] // _PAGE for name in ("rss", "cache")}
    except (OSError, KeyError):
        return None
    kernel = KernelMemory(kmem, _known(traced), slack, told_apart=False)
    return Counter(charged, parts | {"kernel": kmem}, slack, kernel)


def _stocks(folder: Path) -> int:
    """Returns how many cgroups' stocks of one CPU may be in the cgroup's counter.

    They are its own, and those of the cgroups below it, whose charges count there too.
    """
    below = sum(len(names) for _, names, _ in os.walk(folder))
    return min(1 + below, _STOCKS)


def _of_v2(charged: int, stat: Mapping[str, int], traced: Traced, slack: int) -> Counter:
    parts = {name: stat[name] for name in ("anon", "file", "sock")}
    known = _known(traced) | {name: stat[name] for name in _OF_KERNEL if name in stat}
    if "kernel" not in stat:
        return Counter(charged, parts | known, slack, None)
    kernel = KernelMemory(stat["kernel"], known, (os.cpu_count() or 1) * _KERNEL_PAGES, told_apart=True)
    return Counter(charged, parts | {"kernel": kernel.charged}, slack, kernel)


def _known(traced: Traced) -> dict[str, int]:
    """Returns what the tracer knows, as the kernel counts it.

    The kernel counts pages that were lost for good, and others than it should where some were taken.
    """
    known = {"held": traced.held, "lost": traced.lost, "taken": -traced.taken}
    return {name: pages for name, pages in known.items() if pages or name == "held"}


def reclaim_kernel_memory(folder: Path) -> None:
    """Has the kernel free what it keeps for a cgroup of v1 that nobody is in any more.

    That is its caches, and with them most of its slab objects.
    """
    with suppress(OSError):
        (folder / "memory.force_empty").write_text("0", encoding="ascii")


_OF_KERNEL = ("slab", "percpu", "zswap")
"""What the kernel counts as kernel memory (`kernel`, since 5.18) that is not made of whole pages of its
own."""
_PAGE = resource.getpagesize()


def _numbers(path: Path) -> dict[str, int]:
    return {
        name: int(number) for name, number in map(str.split, path.read_text(encoding="ascii").splitlines())
    }
