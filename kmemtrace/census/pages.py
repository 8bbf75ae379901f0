"""Finds the charged pages and the slabs in all struct pages of the machine."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.program import COPY

TABLE = "page_table"


@dataclass(frozen=True, slots=True)
class ChargedPages:
    """Blocks of pages that are charged as kernel memory: parallel arrays, one entry for each block."""

    heads: Words
    """Addresses of the blocks' first struct pages."""
    owners: Words
    """The objcg, or before 5.13 the memcg, that each is charged to."""
    orders: Words
    doubtful: Words
    """By how many pages each block may be larger: one that is not compound does not tell how large it is."""
    tables: Words
    """1 for a page table, where the page tells."""


@dataclass(frozen=True, slots=True)
class PageReading:
    charged: ChargedPages
    chunks: Words
    """What may be addresses of chunks of per-CPU memory, each once, those with most pages first; none where
    they were not asked for."""


def page_maps(memory: KernelMemory, layout: PageLayout, start: int, frames: int) -> Iterator[Words]:
    """Yields all struct pages from `start` on, a copy at a time.

    Yields:
        Arrays of (page, 8-byte word), each valid until the next.
    """
    at_once = COPY // layout.size
    for first in range(0, frames, at_once):
        count = min(at_once, frames - first)
        copied = memory.read_parts(start + first * layout.size, count * layout.size)
        yield copied.view("u8").reshape(count, layout.size // 8)


def read_pages(
    memory: KernelMemory,
    layout: PageLayout,
    start: int,
    frames: int,
    take_slabs: Callable[[Words], None],
    look: Callable[[Words, int], None] = lambda _pages, _address: None,
    chunk_words: tuple[int, ...] = (),
) -> PageReading:
    """Goes through all struct pages once.

    Args:
        memory: Reads the kernel's memory.
        layout: The layout of struct page.
        start: Address of struct page 0.
        frames: Number of struct pages.
        take_slabs: Given the struct pages of slabs with a vector of owners, as 8-byte words, a row for each;
            it may read kernel memory.
        look: Shown all struct pages, some at a time, with the address of the first; it may not read kernel
            memory.
        chunk_words: Offsets of words of struct page that may name the chunk of per-CPU memory that the page
            is part of.
    """
    blocks: list[tuple[Words, ...]] = []
    chunks: Counter[int] = Counter()
    address = start
    for pages in page_maps(memory, layout, start, frames):
        blocks.append(_charged(pages, layout, address))
        for offset in chunk_words:
            chunks.update(_chunks(pages, layout, offset))
        look(pages, address)
        address += len(pages) * layout.size
        take_slabs(pages[is_slab(pages, layout) & (word_at(pages, layout.vector) != 0)])
    heads, owners, orders, doubtful, tables = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    compound = orders == FROM_TAIL
    orders[compound] = head_orders(memory, layout, heads[compound])
    return PageReading(
        ChargedPages(heads, owners, orders, doubtful, tables),
        np.array([chunk for chunk, pages_of_it in chunks.most_common() if pages_of_it > 1], "u8"),
    )


def head_orders(memory: KernelMemory, layout: PageLayout, heads: Words) -> Words:
    """Returns the orders of compound pages, by the addresses of their first struct pages."""
    words = memory.words(heads, layout.order & ~7)
    return words >> np.uint64(8 * (layout.order & 7)) & np.uint64(0xFF)


FROM_TAIL = np.uint64(0xFF)
"""Stands for the order of a compound page that the page after its head tells, where that is in the next
copy."""


def _charged(pages: Words, layout: PageLayout, address: int) -> tuple[Words, ...]:
    owner = word_at(pages, layout.owner) & ~np.uint64(7)
    at = np.flatnonzero(is_charged(pages, layout) & (owner != 0))
    found = pages[at]
    head = word_at(found, layout.flags) >> np.uint64(layout.head_bit) & np.uint64(1)
    is_table = (
        _type(found, layout) == layout.table_type if layout.table_type is not None else np.zeros(len(at))
    )
    heads = np.uint64(address) + at.astype("u8") * np.uint64(layout.size)
    doubtful = np.where(head == 1, np.uint64(0), _further_pages(pages, layout, at))
    orders = np.where(head == 1, orders_in(pages, layout, at), np.uint64(0))
    return heads, owner[at], orders, doubtful, is_table.astype("u8")


def orders_in(pages: Words, layout: PageLayout, at: NDArray[np.int64]) -> Words:
    """Reads the orders of the compound pages whose heads are at these places among the pages.

    Returns:
        The orders; FROM_TAIL where the page that tells is not among these pages.
    """
    words = pages.reshape(-1)
    place = at * pages.shape[1] + layout.order // 8
    told = words[np.minimum(place, len(words) - 1)] >> np.uint64(8 * (layout.order & 7)) & np.uint64(0xFF)
    return np.where(place < len(words), told, FROM_TAIL)


def _further_pages(pages: Words, layout: PageLayout, at: NDArray[np.int64]) -> Words:
    """Counts how many pages after each of these may be of the same block.

    Those are pages that nobody refers to and that are not known to be free, as far as they fill an aligned
    block. Free pages in a CPU's lists look so too.
    """
    more = np.zeros(len(at), "u8")
    if not len(at):
        return more
    plain = (word_at(pages, layout.owner) == 0) & (_half(pages, layout.type) == _NO_TYPE)
    alone = np.concatenate([[0], np.cumsum(plain & (_half(pages, layout.references) == 0))])
    for order in range(1, _LARGEST_ORDER + 1):
        size = 1 << order
        whole = (at % size == 0) & (at + size <= len(pages))
        ends = np.where(whole, at + size, at + 1)
        filled = whole & (alone[ends] - alone[at + 1] == size - 1)
        if not filled.any():
            break
        more[filled] = size - 1
    return more


_LARGEST_ORDER = 10


def is_charged(pages: Words, layout: PageLayout) -> NDArray[np.bool_]:
    """Returns which pages bear the mark of kernel memory."""
    mark = word_at(pages, layout.mark) if layout.mark_size == 8 else _half(pages, layout.mark)
    marked: NDArray[np.bool_] = (mark & np.uint64(layout.mark_mask)) == np.uint64(layout.mark_value)
    return marked


def is_slab(pages: Words, layout: PageLayout) -> NDArray[np.bool_]:
    if layout.slab_type is not None:
        typed: NDArray[np.bool_] = _type(pages, layout) == np.uint64(layout.slab_type)
        return typed
    assert layout.slab_bit is not None
    of_slab: NDArray[np.bool_] = word_at(pages, layout.flags) & np.uint64(1 << layout.slab_bit) != 0
    return of_slab


def _chunks(pages: Words, layout: PageLayout, offset: int) -> dict[int, int]:
    """Returns what may be chunks, with how many of these pages name each: of pages that are nothing else."""
    named = word_at(pages, offset)
    plain = (word_at(pages, layout.owner) == 0) & (_half(pages, layout.type) == _NO_TYPE)
    found, counts = np.unique(named[plain & (named >> np.uint64(47) == _KERNEL)], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


_NO_TYPE = np.uint64(0xFFFFFFFF)
_KERNEL = np.uint64(0x1FFFF)
"""The upper bits that every address of the kernel's has."""


def _type(pages: Words, layout: PageLayout) -> Words:
    return _half(pages, layout.type) >> np.uint64(24)


def word_at(pages: Words, offset: int) -> Words:
    """Returns the 8 bytes at an offset of each struct page."""
    return pages[:, offset // 8]


def _half(pages: Words, offset: int) -> Words:
    """Returns the 4 bytes at an offset of each struct page, as a wider number."""
    return pages[:, offset // 8] >> np.uint64(8 * (offset % 8)) & np.uint64(0xFFFFFFFF)
