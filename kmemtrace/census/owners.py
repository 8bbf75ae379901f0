"""Whose objects and pages they are: from an owner's address to its cgroup."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmemtrace.census.layout.memcg import OwnerLayout
from kmemtrace.census.memory import KernelMemory, Words


@dataclass(frozen=True, slots=True)
class Owners:
    """Objcgs, or memcgs where pages name those: parallel arrays, sorted by address."""

    addresses: Words
    memcgs: Words
    """The struct mem_cgroup that each stands for now: for objcgs of a removed cgroup its parent's (5.13+).
    0 where it could not be read."""
    ahead_bytes: Words
    """Charged ahead on each: its own, and what the CPUs keep for it."""

    def place(self, addresses: Words) -> Words:
        """Where each of these stands here; all are here."""
        return np.searchsorted(self.addresses, addresses).astype("u8")


def objcgs_of(memory: KernelMemory, layout: OwnerLayout, memcgs: Words) -> Words:
    """All objcgs that stand for these memcgs: also one that has no object any more can have been charged
    ahead.

    Not to be asked of memcgs that were taken offline: memcg_reparent_objcgs() moves their objcgs into their
    parents' lists and leaves their own heads pointing there, into a circle that never comes back to them.
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
    """One more than the highest number of a NUMA node; 1 where the kernel knows no nodes."""
    try:
        return int(re.split("[-,]", file.read_text(encoding="ascii").strip())[-1]) + 1
    except OSError:
        return 1


_MOST = 1 << 20


def read_owners(
    memory: KernelMemory, layout: OwnerLayout, objcgs: Words, memcgs: Words, stocks: tuple[Words, Words]
) -> Owners:
    """`objcgs` and `memcgs`: each once or more often, in any order; `stocks`: as read of the CPUs'."""
    objcgs, memcgs = np.unique(np.concatenate([objcgs, stocks[0]])), np.unique(memcgs)
    ahead = memory.words(objcgs, layout.objcg_bytes & ~7) >> np.uint64(8 * (layout.objcg_bytes % 8))
    ahead &= np.uint64(0xFFFFFFFF)
    np.add.at(ahead, np.searchsorted(objcgs, stocks[0]), stocks[1])
    addresses = np.concatenate([objcgs, memcgs])
    of = np.concatenate([memory.words(objcgs, layout.objcg_memcg), memcgs])
    ahead = np.concatenate([ahead, np.zeros(len(memcgs), "u8")])
    order = np.argsort(addresses)
    return Owners(addresses[order], of[order], ahead[order])
