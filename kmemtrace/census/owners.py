"""Finds whose objects and pages they are: leads from an owner's address to its cgroup."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmemtrace.census.layout.memcg import OwnerLayout
from kmemtrace.census.memory import KernelMemory, Words


@dataclass(frozen=True, slots=True)
class Owners:
    """Objcgs, or memcgs where pages name those, as parallel arrays that are sorted by address."""

    addresses: Words
    memcgs: Words
    """The struct mem_cgroup that each stands for now, which for objcgs of a removed cgroup is its parent's
    (5.13+); 0 where it could not be read."""
    ahead_bytes: Words
    """Bytes charged ahead on each: its own, and what the CPUs keep for it."""

    def place(self, addresses: Words) -> Words:
        """Returns the place of each address in these arrays; all of them must be here."""
        return np.searchsorted(self.addresses, addresses).astype("u8")


def objcgs_of(memory: KernelMemory, layout: OwnerLayout, memcgs: Words) -> Words:
    """Finds all objcgs that stand for memcgs: also one without any object can have been charged ahead.

    Args:
        memory: Reads the kernel's memory.
        layout: Leads from memcgs to their objcgs.
        memcgs: Addresses of memcgs that are online. It must not be asked of those that were taken offline:
            memcg_reparent_objcgs() moves their objcgs into their parents' lists and leaves their own heads
            pointing there, into a circle that never comes back to them.
    """
    holders = memcgs
    if layout.memcg_nodes is not None:
        nodes = np.arange(possible_nodes(), dtype="u8") * np.uint64(8) + np.uint64(layout.memcg_nodes)
        holders = memory.words((memcgs[:, None] + nodes[None, :]).ravel())
        holders = holders[holders != 0]
    own = memory.words(holders, layout.memcg_objcg)
    heads = holders + np.uint64(layout.memcg_objcgs)
    first = memory.words(heads)
    inherited = [memory.links(int(head), _MOST) for head in heads[(first != heads) & (first != 0)]]
    links = np.concatenate([np.zeros(0, "u8"), *inherited])
    return np.concatenate([own[own != 0], links - np.uint64(layout.objcg_link)])


def possible_nodes(file: Path = Path("/sys/devices/system/node/possible")) -> int:
    """Returns one more than the highest number of a NUMA node; 1 where the kernel knows no nodes."""
    try:
        return int(re.split("[-,]", file.read_text(encoding="ascii").strip())[-1]) + 1
    except OSError:
        return 1


_MOST = 1 << 20


def read_owners(
    memory: KernelMemory, layout: OwnerLayout, objcgs: Words, memcgs: Words, stocks: tuple[Words, Words]
) -> Owners:
    """Reads which memcg each owner stands for, and what is charged ahead on it.

    Args:
        memory: Reads the kernel's memory.
        layout: Leads from owners to their cgroups.
        objcgs: Addresses of objcgs, each once or more often, in any order.
        memcgs: Addresses of memcgs that pages name as their owners, likewise.
        stocks: The CPUs' stocks, as Stocks.read() returns them.
    """
    objcgs, memcgs = np.unique(np.concatenate([objcgs, stocks[0]])), np.unique(memcgs)
    ahead = memory.words(objcgs, layout.objcg_bytes & ~7) >> np.uint64(8 * (layout.objcg_bytes % 8))
    ahead &= np.uint64(0xFFFFFFFF)
    np.add.at(ahead, np.searchsorted(objcgs, stocks[0]), stocks[1])
    addresses = np.concatenate([objcgs, memcgs])
    of = np.concatenate([memory.words(objcgs, layout.objcg_memcg), memcgs])
    ahead = np.concatenate([ahead, np.zeros(len(memcgs), "u8")])
    order = np.argsort(addresses)
    return Owners(addresses[order], of[order], ahead[order])
