"""Finds what keeps a removed cgroup: user space's pages that are still charged to it, and mere references."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.grouped import grouped
from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.layout.pin import PinLayout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.pages import FROM_TAIL, head_orders, is_charged, is_slab, orders_in, word_at
from kmemtrace.model.census import Pin, PinKind

_MOST_FILES = 16
"""Files of one cgroup that are told by name; the others are added up."""
_DEEPEST = 40
_NAME_BYTES = 128


_NONE = np.zeros(0, "u8")
_KINDS = (PinKind.FILE, PinKind.SHMEM, PinKind.ANON)


@dataclass(frozen=True, slots=True)
class Pinned:
    """Pages of user space's memory that are charged to removed cgroups.

    The arrays are parallel, with an entry for each cgroup, kind and file.
    """

    memcgs: Words
    kinds: Words
    """Places in _KINDS."""
    mappings: Words
    """The struct address_space of each file; 0 for anonymous memory."""
    pages: Words

    def bytes_of(self, page_bytes: int) -> dict[str, int]:
        """Returns the bytes of all these pages, by kind."""
        return {
            kind.value: int(self.pages[self.kinds == place].sum()) * page_bytes
            for place, kind in enumerate(_KINDS)
        }


class PinReader:
    """Adds up which of the struct pages that it is shown are charged to certain memcgs."""

    def __init__(self, page: PageLayout, layout: PinLayout | None, memcgs: Words) -> None:
        """Prepares for these memcgs; without a `layout` nothing is found."""
        self._page, self._layout, self._memcgs = page, layout, np.sort(memcgs)
        self._found = [Pinned(_NONE, _NONE, _NONE, _NONE)]
        self._later = [(_NONE, _NONE, _NONE, _NONE)]
        """Compound pages whose order is in the next copy: cgroup, kind, file and address."""

    def look(self, pages: Words, address: int) -> None:
        page, layout = self._page, self._layout
        if layout is None or not len(self._memcgs):
            return
        at = self._owned(word_at(pages, page.owner))
        mine = pages[at]
        at = at[~is_charged(mine, page) & ~is_slab(mine, page)]
        if not len(at):
            return
        mine = pages[at]
        mappings = word_at(mine, layout.page_mapping)
        swap_backed = word_at(mine, page.flags) >> np.uint64(layout.swap_backed_bit) & np.uint64(1)
        is_anon = mappings & np.uint64(3) != 0
        kinds = np.where(is_anon, np.uint64(_KINDS.index(PinKind.ANON)), swap_backed)
        of = (word_at(mine, page.owner), kinds, np.where(is_anon, np.uint64(0), mappings))
        compound = word_at(mine, page.flags) >> np.uint64(page.head_bit) & np.uint64(1) == 1
        orders = np.where(compound, orders_in(pages, page, at), np.uint64(0))
        later = orders == FROM_TAIL
        heads = np.uint64(address) + at[later].astype("u8") * np.uint64(page.size)
        self._later.append((*(column[later] for column in of), heads))
        memcgs, kinds, files = (column[~later] for column in of)
        self._found.append(_added(memcgs, kinds, files, np.uint64(1) << orders[~later]))

    def result(self, memory: KernelMemory) -> Pinned:
        memcgs, kinds, mappings, heads = (np.concatenate(parts) for parts in zip(*self._later, strict=True))
        pages = np.uint64(1) << head_orders(memory, self._page, heads)
        found = [*self._found, Pinned(memcgs, kinds, mappings, pages)]
        columns = ((one.memcgs, one.kinds, one.mappings, one.pages) for one in found)
        return _added(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))

    def _owned(self, owners: Words) -> NDArray[np.int64]:
        """Returns the places of the owners that are among the memcgs.

        Neighbours have one owner as a rule, so each run of them is looked up once.
        """
        begins = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
        values = owners[begins]
        place = np.searchsorted(self._memcgs, values).clip(max=len(self._memcgs) - 1)
        ours = (values != 0) & (self._memcgs[place] == values)
        return np.flatnonzero(np.repeat(ours, np.diff(np.append(begins, len(owners)))))


def _added(memcgs: Words, kinds: Words, mappings: Words, pages: Words) -> Pinned:
    """Returns one entry for each cgroup, kind and file."""
    (memcgs, kinds, mappings), pages = grouped((memcgs, kinds, mappings), pages)
    return Pinned(memcgs, kinds, mappings, pages)


def told_pins(memory: KernelMemory, layout: PinLayout, found: Pinned) -> dict[int, tuple[Pin, ...]]:
    """Names the files of what was found.

    Returns:
        By address of the struct mem_cgroup its pins, those with most bytes first.
    """
    sums: dict[int, dict[tuple[PinKind, int], int]] = defaultdict(dict)
    columns = (found.memcgs, found.kinds, found.mappings, found.pages)
    for memcg, kind, mapping, pages in zip(*(column.tolist() for column in columns), strict=True):
        sums[memcg][_KINDS[kind], mapping] = pages * layout.page_bytes
    return {memcg: tuple(_pins(memory, layout, of)) for memcg, of in sums.items()}


def _pins(memory: KernelMemory, layout: PinLayout, of: dict[tuple[PinKind, int], int]) -> list[Pin]:
    largest = sorted(of.items(), key=lambda item: -item[1])
    named = [item for item in largest if item[0][1]][:_MOST_FILES]
    pins = [_file(memory, layout, kind, mapping, size) for (kind, mapping), size in named]
    rest: dict[PinKind, int] = defaultdict(int)
    for (kind, mapping), size in largest:
        if not mapping or ((kind, mapping), size) not in named:
            rest[kind] += size
    pins += [Pin(kind, size) for kind, size in rest.items()]
    return sorted(pins, key=lambda pin: -pin.bytes)


def _file(memory: KernelMemory, layout: PinLayout, kind: PinKind, mapping: int, size: int) -> Pin:
    inode = memory.word(mapping + layout.mapping_host)
    super_block = memory.word(inode + layout.inode_super)
    number = memory.word(inode + layout.inode_number)
    alias = memory.word(inode + layout.inode_dentries)
    path = _path(memory, layout, alias - layout.dentry_alias) if alias else None
    (device,) = memory.names(np.array([super_block + layout.super_name], "u8"), 32)
    return Pin(kind, size, device, number, path)


def _path(memory: KernelMemory, layout: PinLayout, dentry: int) -> str:
    """Returns the path below the root of its file system, as far as the kernel knows the names above it."""
    names: list[str] = []
    for _ in range(_DEEPEST):
        parent = memory.word(dentry + layout.dentry_parent)
        if not parent or parent == dentry:
            break
        (name,) = memory.names(np.array([memory.word(dentry + layout.dentry_name)], "u8"), _NAME_BYTES)
        names.append(name)
        dentry = parent
    return "/" + "/".join(reversed(names))
