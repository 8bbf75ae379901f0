"""Layout of struct page."""

from dataclasses import dataclass

import numpy as np

from kmemtrace.census.layout.find import UnknownLayoutError, at, first, value
from kmemtrace.census.memory import Words
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.layout import order_offset, page_mark


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Where struct page has what the census reads of it; offsets are in bytes."""

    size: int
    flags: int
    head_bit: int
    """Bit of `flags` that is set in the first page of a compound one."""
    order: int
    """Offset of the byte that holds a compound page's order, from its head."""
    mark: int
    mark_size: int
    mark_mask: int
    mark_value: int
    owner: int
    owner_is_objcg: bool
    vector: int
    """Offset of the word that names a slab's vector of owners, with flags in its low bits."""
    type: int
    slab_type: int | None
    """Value of the page type's upper byte in a slab (6.11+: 4ffca5a96678); None where `slab_bit` tells."""
    slab_bit: int | None
    """Bit of `flags` that is set in a slab, before 6.10 (46df8e73a4a3)."""
    table_type: int | None
    """Value of the type's upper byte in page tables; None where page tables are not told that way."""
    references: int
    """Offset of the 32 bits that count references: 0 in a block's further pages, and in free ones."""
    head: int
    """Offset of the word by which a further page of a block finds the first one: its lowest bit is 1
    there."""

    def head_of(self, pages: Words, words: Words) -> Words:
        """Returns the addresses of the first struct pages of the blocks that pages are part of.

        The word at `head` is the first page's address and 1; or, where all upper bits are set, what the
        page's own address has to be masked with.

        Args:
            pages: Addresses of struct pages.
            words: What each of them has at `head`.
        """
        masks = words >> np.uint64(32) == np.uint64(0xFFFFFFFF)
        firsts = np.where(masks, pages & words, words - np.uint64(1))
        return np.where(words & np.uint64(1) == 1, firsts, pages).astype("u8")


def page_layout(facts: Facts) -> PageLayout:
    """Works out the PageLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields, or does not tell slabs or orders.
    """
    mark = page_mark(facts)
    size = facts.size("page") or 0
    vector = "memcg_data" if mark.owner_field == "memcg_data" else "obj_cgroups"
    type_ = facts.enumerator("PGTY_slab", "pagetype")
    bit = None if type_ is not None else facts.enumerator("PG_slab", "pageflags")
    if type_ is None and bit is None:
        raise UnknownLayoutError("which pages are slabs is not told")
    order = order_offset(facts)
    if order is None:
        raise UnknownLayoutError("where a compound page keeps its order is not told")
    return PageLayout(
        size=size,
        flags=at(facts, "page", "flags"),
        head_bit=value(facts, "PG_head", "pageflags"),
        order=order,
        mark=at(facts, "page", mark.mark_field),
        mark_size=mark.mark_size,
        mark_mask=mark.mark_mask,
        mark_value=mark.mark_value,
        owner=at(facts, "page", mark.owner_field),
        owner_is_objcg=mark.owner_is_objcg,
        vector=at(facts, "page", vector),
        type=at(facts, "page", "page_type"),
        slab_type=type_,
        slab_bit=bit,
        table_type=facts.enumerator("PGTY_table", "pagetype"),
        references=at(facts, "page", "_refcount"),
        head=first(facts, "page", "compound_head", "compound_info"),
    )
