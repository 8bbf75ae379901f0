"""The objects that are charged, from each slab's vector of owners."""

from dataclasses import dataclass

import numpy as np

from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.layout.slab import SlabLayout
from kmemtrace.census.memory import GATHERED, KernelMemory, Words
from kmemtrace.census.pages import Slabs

_STEPS = (128, 512, 2048, GATHERED // 2)
"""Vectors are read in batches of about one length: most are short, and the longest have 4 KB."""
_OBJCG_POINTER = 8
"""obj_full_size(): an object is charged with the pointer to its owner."""


@dataclass(frozen=True, slots=True)
class Caches:
    """Parallel arrays and lists, one entry for each cache that has charged objects."""

    names: list[str]
    object_bytes: Words
    """What an object is charged with."""
    reclaimable: Words


@dataclass(frozen=True, slots=True)
class Objects:
    """Charged objects: parallel arrays, one entry for each."""

    owners: Words
    """Its objcg."""
    caches: Words
    """Place of its cache in Caches."""


def read_objects(
    memory: KernelMemory, page: PageLayout, layout: SlabLayout, slabs: Slabs
) -> tuple[Objects, Caches]:
    addresses, inverse = np.unique(slabs.words[:, layout.cache // 8], return_inverse=True)
    place = inverse.astype("u8")
    caches = _caches(memory, layout, addresses)
    counters = slabs.words[:, layout.counters // 8] >> np.uint64(8 * (layout.counters % 8))
    counts = counters >> np.uint64(16) & np.uint64(0x7FFF)
    vectors = slabs.words[:, page.vector // 8] & ~np.uint64(layout.vector_flags)
    inside = np.zeros(len(counts), bool)
    if layout.in_objects_bit is not None:
        inside = (counters >> np.uint64(layout.in_objects_bit) & np.uint64(1)) == 1
    found = [_side_by_side(memory, layout, vectors[~inside], counts[~inside], place[~inside])]
    if inside.any():
        strides = caches.object_bytes[place] - np.uint64(_OBJCG_POINTER)
        found.append(
            _in_objects(memory, layout, vectors[inside], counts[inside], place[inside], strides[inside])
        )
    owners, of_cache = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Objects(owners, of_cache), caches


def _caches(memory: KernelMemory, layout: SlabLayout, addresses: Words) -> Caches:
    sizes = memory.words(addresses, layout.cache_size) & np.uint64(0xFFFFFFFF)
    flags = memory.words(addresses, layout.cache_flags) & np.uint64(0xFFFFFFFF)
    return Caches(
        memory.names(memory.words(addresses, layout.cache_name)),
        sizes + np.uint64(_OBJCG_POINTER),
        (flags & np.uint64(layout.reclaim_flag) != 0).astype("u8"),
    )


def _side_by_side(
    memory: KernelMemory, layout: SlabLayout, vectors: Words, counts: Words, place: Words
) -> tuple[Words, Words]:
    """Owner and cache of the charged objects of slabs whose entries lie one after the other."""
    owners, caches = [np.zeros(0, "u8")], [np.zeros(0, "u8")]
    need, shorter = counts * np.uint64(layout.entry_size), 0
    for step in _STEPS:
        chosen = np.flatnonzero((need > shorter) & (need <= step))
        shorter = step
        read = memory.gather(vectors[chosen], step)[:, layout.entry_objcg // 8 :: layout.entry_size // 8]
        # What lies behind a vector is somebody else's memory.
        read[np.arange(read.shape[1]) >= counts[chosen, None]] = 0
        rows, columns = np.nonzero(read)
        owners.append(read[rows, columns])
        caches.append(place[chosen][rows].astype("u8"))
    return np.concatenate(owners), np.concatenate(caches)


def _in_objects(
    memory: KernelMemory, layout: SlabLayout, first: Words, counts: Words, place: Words, strides: Words
) -> tuple[Words, Words]:
    """The same, of slabs whose entries lie in the padding of each object (7.1+)."""
    rows = np.repeat(np.arange(len(counts)), counts.astype("i8"))
    within = np.arange(len(rows), dtype="u8") - np.repeat(np.cumsum(counts) - counts, counts.astype("i8"))
    entries = (first[rows] + within * strides[rows]).astype("u8")
    read = memory.words(entries, layout.entry_objcg)
    charged = read != 0
    return read[charged], place[rows][charged].astype("u8")
