"""Reads the objects that are charged, from each slab's vector of owners."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.grouped import grouped
from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.layout.slab import SlabLayout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.program import GATHERED

_STEPS = (128, 512, 2048, GATHERED // 2)
"""Lengths in bytes by which vectors are read in batches: most are short, and the longest have 4 KB."""
_OBJCG_POINTER = 8
"""Bytes of the pointer to its owner that an object is charged with: obj_full_size()."""
_AT_ONCE = 1 << 11
"""Slabs that are read together: some megabytes' worth, so that little changes between reading the struct
pages and the vectors."""
_MOST_PARTS = 64
"""Parts of what was found before they are added up, so that they do not grow with the machine."""
_NONE = np.zeros(0, "u8")


@dataclass(frozen=True, slots=True)
class Caches:
    """Parallel arrays and lists, with one entry for each cache that has charged objects."""

    names: list[str]
    object_bytes: Words
    """Bytes that an object is charged with."""
    reclaimable: Words


@dataclass(frozen=True, slots=True)
class Objects:
    """Charged objects, as parallel arrays with one entry for each owner and cache.

    Single objects would take some 100 bytes each by the time that they are added up.
    """

    owners: Words
    """The objcg of each entry."""
    caches: Words
    """Place in Caches of each entry's cache."""
    counts: Words


class ObjectReader:
    """Reads the charged objects of the slabs that it is given, soon afterwards.

    A slab that is freed meanwhile is missed, and a new one is not known yet.
    """

    def __init__(self, memory: KernelMemory, page: PageLayout, layout: SlabLayout) -> None:
        self._memory, self._page, self._layout = memory, page, layout
        self._waiting: list[Words] = []
        self._found: list[tuple[Words, Words, Words]] = [(_NONE, _NONE, _NONE)]
        self._places: dict[int, int] = {}
        """Places of caches by their addresses, in the order in which they were found."""
        self._sizes: list[int] = []
        self.cpu_seconds = 0.0
        """CPU time that the reading took."""

    def add(self, slabs: Words) -> None:
        """Adds struct pages of slabs with a vector, as 8-byte words, one row for each."""
        self._waiting.append(slabs)
        if sum(map(len, self._waiting)) >= _AT_ONCE:
            self._read_waiting()

    def result(self) -> tuple[Objects, Caches]:
        self._read_waiting()
        return Objects(*self._added()), self._caches()

    def _added(self) -> tuple[Words, Words, Words]:
        """Returns what was found so far, with one entry for each owner and cache."""
        owners, caches, counts = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        (owners, caches), counts = grouped((owners, caches), counts)
        return owners, caches, counts

    def _read_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if sum(map(len, waiting)):
            begin = time.thread_time()
            self._read(np.concatenate(waiting))
            if len(self._found) > _MOST_PARTS:
                self._found = [self._added()]
            self.cpu_seconds += time.thread_time() - begin

    def _read(self, slabs: Words) -> None:
        memory, layout = self._memory, self._layout
        place = self._place(slabs[:, layout.cache // 8])
        counters = slabs[:, layout.counters // 8] >> np.uint64(8 * (layout.counters % 8))
        counts = counters >> np.uint64(16) & np.uint64(0x7FFF)
        vectors = slabs[:, self._page.vector // 8] & ~np.uint64(layout.vector_flags)
        apart = strides(layout, counters, np.array(self._sizes, "u8")[place])
        inside = apart != layout.entry_size
        self._found += _side_by_side(memory, layout, vectors[~inside], counts[~inside], place[~inside])
        if inside.any():
            self._found.append(
                _in_objects(memory, layout, vectors[inside], counts[inside], place[inside], apart[inside])
            )

    def _place(self, addresses: Words) -> Words:
        """Returns the places of these caches, and remembers those that were not known yet."""
        different, inverse = np.unique(addresses, return_inverse=True)
        new = [address for address in different.tolist() if address not in self._places]
        if new:
            sizes = self._memory.words(np.array(new, "u8"), self._layout.cache_size) & np.uint64(0xFFFFFFFF)
            self._sizes += sizes.tolist()
            self._places |= {address: len(self._places) + at for at, address in enumerate(new)}
        return np.array([self._places[address] for address in different.tolist()], "u8")[inverse]

    def _caches(self) -> Caches:
        memory, layout, addresses = self._memory, self._layout, np.array(list(self._places), "u8")
        flags = memory.words(addresses, layout.cache_flags) & np.uint64(0xFFFFFFFF)
        return Caches(
            memory.names(memory.words(addresses, layout.cache_name)),
            np.array(self._sizes, "u8") + np.uint64(_OBJCG_POINTER),
            (flags & np.uint64(layout.reclaim_flag) != 0).astype("u8"),
        )


def strides(layout: SlabLayout, counters: Words, object_bytes: Words) -> Words:
    """Returns how many bytes after one entry the next one lies.

    Args:
        layout: Tells what of the counters says so.
        counters: The counters of each slab.
        object_bytes: The size of each one's objects.
    """
    if layout.stride_bit is not None:
        return counters >> np.uint64(layout.stride_bit) & np.uint64(0xFFFFFFFF)
    if layout.in_objects_bit is not None:
        inside = (counters >> np.uint64(layout.in_objects_bit) & np.uint64(1)) == 1
        return np.where(inside, object_bytes, np.uint64(layout.entry_size))
    return np.full(len(counters), layout.entry_size, "u8")


def _runs(owners: Words, slabs: NDArray[np.int64], caches: Words) -> tuple[Words, Words, Words]:
    """Returns owner, cache and number of each run of neighbouring objects with one owner.

    Args:
        owners: Owners of charged objects.
        slabs: The slab that each object is in.
        caches: The cache of each slab.
    """
    begins = np.flatnonzero(np.concatenate([[True], (owners[1:] != owners[:-1]) | (slabs[1:] != slabs[:-1])]))
    if not len(owners):
        return _NONE, _NONE, _NONE
    counts = np.diff(np.append(begins, len(owners))).astype("u8")
    return owners[begins], caches[slabs[begins]], counts


def _side_by_side(
    memory: KernelMemory, layout: SlabLayout, vectors: Words, counts: Words, place: Words
) -> Iterator[tuple[Words, Words, Words]]:
    """Yields the runs of slabs whose entries lie one after the other."""
    need, shorter = counts * np.uint64(layout.entry_size), 0
    for step in _STEPS:
        chosen = np.flatnonzero((need > shorter) & (need <= step))
        shorter = step
        if not len(chosen):
            continue
        read = memory.gather(vectors[chosen], step)[:, layout.entry_objcg // 8 :: layout.entry_size // 8]
        # What lies behind a vector is somebody else's memory.
        read[np.arange(read.shape[1]) >= counts[chosen, None]] = 0
        rows, columns = np.nonzero(read)
        yield _runs(read[rows, columns], rows, place[chosen])


def _in_objects(
    memory: KernelMemory, layout: SlabLayout, first: Words, counts: Words, place: Words, apart: Words
) -> tuple[Words, Words, Words]:
    """Returns the runs of slabs whose entries lie in the padding of each object (7.1+)."""
    rows = np.repeat(np.arange(len(counts)), counts.astype("i8"))
    within = np.arange(len(rows), dtype="u8") - np.repeat(np.cumsum(counts) - counts, counts.astype("i8"))
    entries = (first[rows] + within * apart[rows]).astype("u8")
    read = memory.words(entries, layout.entry_objcg)
    charged = read != 0
    return _runs(read[charged], rows[charged], place)
