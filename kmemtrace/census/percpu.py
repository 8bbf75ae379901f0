"""Reads the per-CPU areas that are charged, from the chunks that they are cut from."""

from dataclasses import dataclass

import numpy as np

from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.percpu import PercpuLayout, percpu_layout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.program import COPY
from kmemtrace.kernel.facts import Facts

_UNIT = 4
"""Bytes that a bit of a chunk's maps stands for: PCPU_MIN_ALLOC_SIZE."""
_OWNER_BYTES = 8
"""Bytes of the pointer to an owner that each unit is charged with: pcpu_obj_full_size()."""
_MOST_CHUNKS, _MOST_LISTS = 1 << 16, 64
_MOST_PAGES = 1 << 14
_MOST_TRIED = 1 << 8
_NOT_FOUND = "where this kernel keeps its per-CPU memory was not found"
_KERNEL_BEGIN = 1 << 63


@dataclass(frozen=True, slots=True)
class Areas:
    """Charged areas, as parallel arrays with one entry for each."""

    owners: Words
    """The objcg of each area."""
    sizes: Words
    """Bytes of each area on one CPU."""

    def charged_bytes(self, possible_cpus: int) -> Words:
        """Returns the bytes charged for each area: its size on every possible CPU, and owners' pointers."""
        return self.sizes * np.uint64(possible_cpus) + self.sizes // np.uint64(_UNIT) * np.uint64(
            _OWNER_BYTES
        )


NO_AREAS = Areas(np.zeros(0, "u8"), np.zeros(0, "u8"))


class Chunks:
    """Reads the charged areas, once it knows where the lists of chunks begin.

    The lists stay there for as long as the kernel runs.
    """

    def __init__(self, memory: KernelMemory, facts: Facts, page_bytes: int) -> None:
        """Finds the lists at once where the symbol table tells them; find() looks for them otherwise."""
        self._memory, self._heads = memory, np.zeros(0, "u8")
        self.unseen: str | None = _NOT_FOUND
        """Why the areas are not read; None where they are."""
        self.sought: tuple[int, ...] = ()
        """Offsets of the words of struct page that may name its chunk, while the lists have to be found."""
        try:
            self._layout = percpu_layout(facts, page_bytes)
        except UnknownLayoutError as error:
            self.unseen = f"this kernel lays out its per-CPU memory in a way that is not known: {error}"
            return
        lists, count = facts.symbol("pcpu_chunk_lists"), facts.symbol("pcpu_nr_slots")
        if lists is None or count is None:
            self.sought = self._layout.page_chunk
        else:
            types = 2 if self._layout.lists_by_type else 1
            self._heads, self.unseen = _heads_by_symbol(memory, lists, count, types), None

    def find(self, candidates: Words) -> None:
        """Looks for the lists from addresses that may be chunks, if they have to be found."""
        if self.sought:
            self._heads = _heads_from(self._memory, self._layout, candidates[:_MOST_TRIED])
            if len(self._heads):
                self.sought, self.unseen = (), None

    def read(self) -> Areas:
        """Returns the areas that are charged; none where they are not read."""
        if not len(self._heads):
            return NO_AREAS
        links = [self._memory.links(int(head), _MOST_CHUNKS) for head in self._heads]
        chunks = np.unique(np.concatenate(links)) - np.uint64(self._layout.list)
        found = [read_areas(self._memory, self._layout, int(chunk)) for chunk in chunks]
        return Areas(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def read_areas(memory: KernelMemory, layout: PercpuLayout, chunk: int) -> tuple[Words, Words]:
    """Returns the owners and sizes in bytes of the charged areas of one chunk."""
    vector, bounds = memory.word(chunk + layout.vector), memory.word(chunk + layout.bounds)
    pages = memory.word(chunk + layout.pages) & 0xFFFFFFFF
    if not vector or not 0 < pages <= _MOST_PAGES:
        return NO_AREAS.owners, NO_AREAS.sizes
    units = pages * layout.page_bytes // _UNIT
    owners = _long(memory, vector, units * layout.entry_size).reshape(units, -1)[:, layout.entry_objcg // 8]
    bits = np.unpackbits(_long(memory, bounds, units // 8 + 8).view("u1"), bitorder="little")
    begins = np.flatnonzero(bits[: units + 1])
    at = np.flatnonzero(owners)
    ends = begins[np.searchsorted(begins, at, side="right").clip(max=len(begins) - 1)]
    return owners[at], ((ends - at) * _UNIT).astype("u8")


def _long(memory: KernelMemory, address: int, size: int) -> Words:
    parts = [memory.read(address + at, min(COPY, size - at)).copy() for at in range(0, size, COPY)]
    return np.concatenate(parts).view("u8")


def _heads_by_symbol(memory: KernelMemory, lists: int, count: int, types: int) -> Words:
    """Returns the heads of the lists, from the addresses of the kernel's variables.

    Args:
        memory: Reads the kernel's memory.
        lists: Address of pcpu_chunk_lists.
        count: Address of pcpu_nr_slots.
        types: How many types of chunks have lists of their own.
    """
    slots = (memory.word(count) & 0xFFFFFFFF) * types
    return np.uint64(memory.word(lists)) + np.arange(min(slots, _MOST_LISTS), dtype="u8") * np.uint64(16)


def _heads_from(memory: KernelMemory, layout: PercpuLayout, candidates: Words) -> Words:
    """Finds the heads of the lists from candidates for chunks, which are words of struct pages.

    A chunk's list leads round through its head, which stands in an array of all heads, each of which leads to
    a link that leads back.

    Returns:
        Addresses of the heads; none where no candidate is a chunk.
    """
    for candidate in candidates.tolist():
        if not _is_chunk(memory, layout, candidate):
            continue
        ring = memory.links(candidate + layout.list, _MOST_CHUNKS)
        heads = [at for at in ring.tolist() if not _is_chunk(memory, layout, at - layout.list)]
        if len(heads) == 1:
            return _neighbours(memory, heads[0])
    return np.zeros(0, "u8")


def _is_chunk(memory: KernelMemory, layout: PercpuLayout, address: int) -> bool:
    if address < _KERNEL_BEGIN or address % 8:
        return False
    read = memory.gather(np.array([address], "u8"), layout.size)[0]
    base, pages = (
        int(read[layout.base // 8]),
        int(read[layout.pages // 8] >> np.uint64(8 * (layout.pages % 8))),
    )
    populated = int(read[layout.populated // 8] >> np.uint64(8 * (layout.populated % 8))) & 0xFFFFFFFF
    pages &= 0xFFFFFFFF
    plausible = (
        base >= _KERNEL_BEGIN and base % layout.page_bytes == 0 and 0 < populated <= pages <= _MOST_PAGES
    )
    return bool(plausible) and _is_link(memory, address + layout.list)


def _is_link(memory: KernelMemory, address: int) -> bool:
    """Returns whether the link after it leads back to it, and the one before it on to it."""
    after, before = memory.word(address), memory.word(address + 8)
    return after >= _KERNEL_BEGIN and memory.word(after + 8) == address and memory.word(before) == address


def _neighbours(memory: KernelMemory, head: int) -> Words:
    found = [head]
    for step in (-16, 16):
        at = head + step
        while len(found) < _MOST_LISTS and _is_link(memory, at):
            found.append(at)
            at += step
    return np.array(sorted(found), "u8")
