"""Whose objects and pages they are: from an owner's address to its cgroup."""

from dataclasses import dataclass

import numpy as np

from kmemtrace.census.layouts import OwnerLayout
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
