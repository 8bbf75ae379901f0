"""Where the kernel keeps whose an object is."""

import numpy as np

from kmemtrace.census.census import Censor
from kmemtrace.census.memory import Words
from kmemtrace.census.pages import ChargedPages, read_pages
from kmemtrace.census.slabs import strides

_POINTER = 8
"""An object is charged with the pointer to its owner."""


def charged_object(censor: Censor, cgroup: int) -> tuple[int, int]:
    """Of an object that is charged to the cgroup with this id: the address of its owner's, and the bytes that
    it was charged with. The slabs' vectors are looked through one by one, until one is found."""
    for words in slabs_of(censor)[1]:
        entries, size = slab_entries(censor, words)
        mine = np.flatnonzero(cgroups_of(censor, censor._memory.words(entries)) == cgroup)
        if len(mine):
            return int(entries[mine[0]]), size + _POINTER
    raise AssertionError("no object is charged to the cgroup")


def slabs_of(censor: Censor) -> tuple[ChargedPages, Words]:
    """The charged pages, and the struct pages of the slabs with owners, as words, a row for each."""
    slabs: list[Words] = []
    found = read_pages(censor._memory, censor._layouts.page, *censor.struct_pages, slabs.append)
    return found.charged, np.concatenate(slabs)


def slab_entries(censor: Censor, words: Words) -> tuple[Words, int]:
    """Of a slab's struct page: the addresses of its objects' owners, and the size of an object."""
    memory, page, layout = censor._memory, censor._layouts.page, censor._layouts.slab
    counters = int(words[layout.counters // 8]) >> 8 * (layout.counters % 8)
    size = memory.word(int(words[layout.cache // 8]) + layout.cache_size) & 0xFFFFFFFF
    first = (int(words[page.vector // 8]) & ~layout.vector_flags) + layout.entry_objcg
    (step,) = strides(layout, np.array([counters], "u8"), np.array([size], "u8"))
    return np.uint64(first) + np.arange(counters >> 16 & 0x7FFF, dtype="u8") * step, size


def cgroups_of(censor: Censor, owners: Words, *, memcgs: bool = False) -> Words:
    """Ids of the cgroups that these objcgs, or memcgs, stand for; 0 where there is none."""
    memory, layout, at = censor._memory, censor._layouts.owner, owners
    of_objcg = () if memcgs else (layout.objcg_memcg,)
    for offset in (*of_objcg, layout.memcg_cgroup, layout.cgroup_kn, layout.kn_id):
        at = np.where(at == 0, np.uint64(0), memory.words(at, offset))
    return at
