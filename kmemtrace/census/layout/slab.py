"""Layouts of struct slab, of its vectors of owners, and of struct kmem_cache."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import at, first
from kmemtrace.kernel.facts import Facts

_RECLAIM_BEFORE_ENUM, _ACCOUNT_BEFORE_ENUM = 0x00020000, 0x04000000
"""Values of SLAB_RECLAIM_ACCOUNT and SLAB_ACCOUNT before 6.9 (cc61eb851461), which made the flags an enum
that BTF tells."""


@dataclass(frozen=True, slots=True)
class SlabLayout:
    """Offsets in struct slab, which is a struct page, in its vectors, and in struct kmem_cache."""

    cache: int
    counters: int
    """Offset of the 32 bits that hold how many objects are in the slab, in bits 16 to 30."""
    vector_flags: int
    """Low bits of the vector's address that are flags."""
    entry_size: int
    entry_objcg: int
    in_objects_bit: int | None
    """Bit of the counters that says that entries do not lie side by side but in the objects themselves, a
    cache's object size apart; None where it says so in another way, or they never do."""
    stride_bit: int | None
    """Bit of the counters from which on they hold the distance of entries in bytes (7.2); or None."""
    cache_name: int
    cache_size: int
    cache_flags: int
    reclaim_flag: int
    account_flag: int
    """Flag of caches whose objects are all accounted, whatever their allocation asks for."""


def slab_layout(facts: Facts) -> SlabLayout:
    """Works out the SlabLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
    of = "slab" if facts.size("slab") is not None else "page"  # 5.17: d122019bf061
    entry, entry_objcg = 8, 0
    if facts.size("slabobj_ext") is not None:  # 6.10: 21c690a349ba
        entry = facts.size("slabobj_ext") or 0
        entry_objcg = first(facts, "slabobj_ext", "objcg", "_objcg")
    flags = facts.enumerator("__NR_OBJEXTS_FLAGS", "objext_flags")
    if flags is None:
        flags = facts.enumerator("__NR_MEMCG_DATA_FLAGS", "page_memcg_data_flags") or 4
    account = facts.enumerator("_SLAB_ACCOUNT", "_slab_flag_bits")
    reclaim = facts.enumerator("_SLAB_RECLAIM_ACCOUNT", "_slab_flag_bits")
    return SlabLayout(
        cache=at(facts, of, "slab_cache"),
        counters=at(facts, of, "counters"),
        vector_flags=flags - 1,
        entry_size=entry,
        entry_objcg=entry_objcg,
        in_objects_bit=facts.bit(of, "obj_exts_in_object"),
        stride_bit=facts.bit(of, "stride"),
        cache_name=at(facts, "kmem_cache", "name"),
        cache_size=at(facts, "kmem_cache", "size"),
        cache_flags=at(facts, "kmem_cache", "flags"),
        reclaim_flag=_RECLAIM_BEFORE_ENUM if reclaim is None else 1 << reclaim,
        account_flag=_ACCOUNT_BEFORE_ENUM if account is None else 1 << account,
    )
