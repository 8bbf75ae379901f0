"""Everything that is charged, added up by group of owners."""

import resource
from dataclasses import dataclass

import numpy as np

from kmemtrace.census.memory import Words
from kmemtrace.census.owners import Owners
from kmemtrace.census.pages import ChargedPages
from kmemtrace.census.percpu import Areas
from kmemtrace.census.slabs import Caches, Objects
from kmemtrace.model.account import Account, CacheUse
from kmemtrace.tracer.maps import possible_cpus

PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything that is charged, as a census read it."""

    pages: ChargedPages
    objects: Objects
    caches: Caches
    areas: Areas


@dataclass(frozen=True, slots=True)
class KernelCount:
    """What the kernel says of one cgroup; the fields mean what they mean in Account."""

    kernel_bytes: int | None
    moved_bytes: int
    zswap_bytes: int | None
    sock_bytes: int | None


class Sums:
    """What owners hold, added up by group of owners."""

    def __init__(self, group: Words, groups: int, owners: Owners, holdings: Holdings) -> None:
        pages, objects, caches = holdings.pages, holdings.objects, holdings.caches
        of_page = group[owners.place(pages.owners)]
        sizes = np.uint64(PAGE_BYTES) << pages.orders
        self._pages = _sum(of_page, sizes, groups)
        self._tables = _sum(of_page, sizes * pages.tables, groups)
        self._doubtful = _sum(of_page, pages.doubtful * np.uint64(PAGE_BYTES), groups)
        percpu = holdings.areas.charged_bytes(possible_cpus())
        self._percpu = _sum(group[owners.place(holdings.areas.owners)], percpu, groups)
        self._ahead = _sum(group, owners.ahead_bytes, groups)
        self._caches, kinds = caches, len(caches.names)
        of_object = group[owners.place(objects.owners)].astype("i8")
        counts = _sum(of_object * kinds + objects.caches.astype("i8"), objects.counts, groups * kinds)
        self._counts = counts.reshape(groups, kinds)

    def account(self, group: int, kernel: KernelCount, *, tables: bool, percpu: bool) -> Account:
        uses = self._uses(group)
        return Account(
            kernel_bytes=kernel.kernel_bytes,
            pages_bytes=int(self._pages[group]),
            page_tables_bytes=int(self._tables[group]) if tables else None,
            slab_bytes=sum(use.bytes for use in uses),
            caches=uses,
            percpu_bytes=int(self._percpu[group]) if percpu else None,
            zswap_bytes=kernel.zswap_bytes,
            ahead_bytes=int(self._ahead[group]),
            moved_bytes=kernel.moved_bytes,
            doubtful_bytes=int(self._doubtful[group]),
            sock_bytes=kernel.sock_bytes,
        )

    def _uses(self, group: int) -> tuple[CacheUse, ...]:
        counts, caches = self._counts[group], self._caches
        uses = (
            CacheUse(
                caches.names[i],
                int(counts[i]),
                int(counts[i]) * int(caches.object_bytes[i]),
                bool(caches.reclaimable[i]),
            )
            for i in np.flatnonzero(counts).tolist()
        )
        return tuple(sorted(uses, key=lambda use: (-use.bytes, use.cache)))


def _sum(group: Words, amounts: Words, groups: int) -> Words:
    total = np.zeros(groups, "u8")
    np.add.at(total, group, amounts)
    return total
