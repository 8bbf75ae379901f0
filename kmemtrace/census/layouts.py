"""Where this kernel keeps what the census reads: offsets from BTF, and what differs between kernels.

Each layout is worked out on its own, so that a part that a kernel lays out in a way that is not known is
named as unseen while the others are read.
"""

from dataclasses import dataclass

from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.layout import page_mark

_RECLAIM_BEFORE_ENUM = 0x00020000
"""SLAB_RECLAIM_ACCOUNT, before 6.9 (cc61eb851461) made its flags an enum, which BTF tells."""


class UnknownLayoutError(Exception):
    """What this kernel lacks, in words."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """struct page. Offsets in bytes."""

    size: int
    flags: int
    head_bit: int
    """Of `flags`: the first page of a compound one."""
    order: int
    """Of the byte that holds a compound page's order, from its head."""
    mark: int
    mark_size: int
    mark_mask: int
    mark_value: int
    owner: int
    owner_is_objcg: bool
    vector: int
    """Of the word that names a slab's vector of owners, with flags in its low bits."""
    type: int
    slab_type: int | None
    """Value of the page type's upper byte (6.11+: 4ffca5a96678); None where `slab_bit` tells."""
    slab_bit: int | None
    """Of `flags`, before 6.10 (46df8e73a4a3)."""
    table_type: int | None
    """Value of the type's upper byte of page tables; None where it is not so told."""
    references: int
    """Of the 32 bits that count them: 0 of a block's further pages, and of free ones."""


@dataclass(frozen=True, slots=True)
class SlabLayout:
    """struct slab, which is a struct page, its vectors, and struct kmem_cache."""

    cache: int
    counters: int
    """Of the 32 bits that hold how many objects are in it, in bits 16 to 30."""
    vector_flags: int
    """Low bits of the vector's address that are flags."""
    entry_size: int
    entry_objcg: int
    in_objects_bit: int | None
    """Of the counters: entries do not lie side by side but in the objects themselves, a cache's object size
    apart; None where they never do."""
    cache_name: int
    cache_size: int
    cache_flags: int
    reclaim_flag: int


@dataclass(frozen=True, slots=True)
class OwnerLayout:
    """From an object's or page's owner to its cgroup."""

    objcg_memcg: int
    objcg_bytes: int
    """Of the bytes that are charged ahead, besides those in the stocks of CPUs."""
    objcg_link: int
    """In the list of those that a memcg inherited from the removed ones below it."""
    memcg_objcg: int
    memcg_objcgs: int
    """Of the head of that list."""
    memcg_nodes: int | None
    """Of the pointers, one for each NUMA node, to what the two lie in; None before 7.1, where they lie in the
    memcg itself."""
    memcg_cgroup: int
    cgroup_kn: int
    kn_id: int


@dataclass(frozen=True, slots=True)
class PercpuLayout:
    """struct pcpu_chunk."""

    size: int
    list: int
    bounds: int
    base: int
    pages: int
    populated: int
    vector: int
    entry_size: int
    entry_objcg: int
    page_bytes: int
    page_chunk: tuple[int, ...]
    """Of the words of struct page that may name the chunk that it is part of."""
    lists_by_type: bool
    """5.9 to 5.13 (faf65dde844a): charged chunks are on lists of their own."""


@dataclass(frozen=True, slots=True)
class StockLayout:
    """What a CPU keeps of bytes that are charged and given to no object yet."""

    variable: str
    """The per-CPU variable."""
    objcgs: int
    bytes: int
    entries: int
    """Of both: one, or several from 7.0 on."""
    bytes_size: int
    """Of one number of bytes."""
    task_queue: int
    """From a struct task_struct to the pointer to the queue that it is on."""
    queue_run: int
    """There, of the pointer to its CPU's run queue, which is a per-CPU variable."""
    run_cpu: int
    """There, of the number of the CPU."""


@dataclass(frozen=True, slots=True)
class PinLayout:
    """From a page of user space's memory to the file that it is of, and a removed cgroup's references."""

    page_bytes: int
    page_mapping: int
    swap_backed_bit: int
    mapping_host: int
    inode_super: int
    inode_number: int
    inode_dentries: int
    super_name: int
    dentry_alias: int
    dentry_parent: int
    dentry_name: int
    css_references: int
    """Of the pointer to what counts them."""
    count: int
    """There."""


@dataclass(frozen=True, slots=True)
class TreeLayout:
    """From a task to the tree of all memcgs, the removed ones included, and to their names."""

    task_cgroups: int
    css_set_memory: int
    """Of the css of the memory controller, which a struct mem_cgroup begins with."""
    css_parent: int
    css_children: int
    css_sibling: int
    css_flags: int
    css_serial: int
    online_flag: int
    """Set until what it was charged is handed to its parent, a moment after its removal."""
    dying_flag: int
    """Set from its removal on."""
    kn_name: int
    kn_parent: int
    kmem_usage: int | None
    """Of cgroup v1's counter of kernel memory, in pages."""
    kernel_item: "StatisticLayout | None"
    """Of the memcg's statistics, that of kernel memory; None before 5.18, and where its place is not told."""
    zswap_item: "StatisticLayout | None"
    """The same of compressed swap, in bytes (5.19+)."""


@dataclass(frozen=True, slots=True)
class StatisticLayout:
    """One number of a memcg's statistics: of it and those below it, as of the last flush."""

    statistics: int
    """Of the pointer to them, in struct mem_cgroup."""
    state: int
    """There, of the array."""
    item: int
    index: int | None
    """Address of the byte that says where in the array it stands; None where that is `item` itself."""


def page_layout(facts: Facts) -> PageLayout:
    """Raises UnknownLayoutError."""
    mark = page_mark(facts)
    size = facts.size("page") or 0
    vector = "memcg_data" if mark.owner_field == "memcg_data" else "obj_cgroups"
    type_ = facts.enumerator("PGTY_slab", "pagetype")
    bit = None if type_ is not None else facts.enumerator("PG_slab", "pageflags")
    if type_ is None and bit is None:
        raise UnknownLayoutError("which pages are slabs is not told")
    return PageLayout(
        size=size,
        flags=_at(facts, "page", "flags"),
        head_bit=_value(facts, "PG_head", "pageflags"),
        order=_order(facts, size),
        mark=_at(facts, "page", mark.mark_field),
        mark_size=mark.mark_size,
        mark_mask=mark.mark_mask,
        mark_value=mark.mark_value,
        owner=_at(facts, "page", mark.owner_field),
        owner_is_objcg=mark.owner_is_objcg,
        vector=_at(facts, "page", vector),
        type=_at(facts, "page", "page_type"),
        slab_type=type_,
        slab_bit=bit,
        table_type=facts.enumerator("PGTY_table", "pagetype"),
        references=_at(facts, "page", "_refcount"),
    )


def slab_layout(facts: Facts) -> SlabLayout:
    """Raises UnknownLayoutError."""
    of = "slab" if facts.size("slab") is not None else "page"  # 5.17: d122019bf061
    entry, entry_objcg = 8, 0
    if facts.size("slabobj_ext") is not None:  # 6.10: 21c690a349ba
        entry = facts.size("slabobj_ext") or 0
        entry_objcg = _first(facts, "slabobj_ext", "objcg", "_objcg")
    flags = facts.enumerator("__NR_OBJEXTS_FLAGS", "objext_flags")
    if flags is None:
        flags = facts.enumerator("__NR_MEMCG_DATA_FLAGS", "page_memcg_data_flags") or 4
    reclaim = facts.enumerator("_SLAB_RECLAIM_ACCOUNT", "_slab_flag_bits")
    return SlabLayout(
        cache=_at(facts, of, "slab_cache"),
        counters=_at(facts, of, "counters"),
        vector_flags=flags - 1,
        entry_size=entry,
        entry_objcg=entry_objcg,
        in_objects_bit=facts.bit(of, "obj_exts_in_object"),
        cache_name=_at(facts, "kmem_cache", "name"),
        cache_size=_at(facts, "kmem_cache", "size"),
        cache_flags=_at(facts, "kmem_cache", "flags"),
        reclaim_flag=_RECLAIM_BEFORE_ENUM if reclaim is None else 1 << reclaim,
    )


def owner_layout(facts: Facts) -> OwnerLayout:
    """Raises UnknownLayoutError."""
    by_node = facts.offset("mem_cgroup_per_node", "objcg_list") is not None
    holder = "mem_cgroup_per_node" if by_node else "mem_cgroup"
    return OwnerLayout(
        objcg_link=_at(facts, "obj_cgroup", "list"),
        memcg_objcg=_at(facts, holder, "objcg"),
        memcg_objcgs=_at(facts, holder, "objcg_list"),
        memcg_nodes=_at(facts, "mem_cgroup", "nodeinfo") if by_node else None,
        objcg_memcg=_at(facts, "obj_cgroup", "memcg"),
        objcg_bytes=_at(facts, "obj_cgroup", "nr_charged_bytes"),
        memcg_cgroup=_at(facts, "mem_cgroup", "css.cgroup"),
        cgroup_kn=_at(facts, "cgroup", "kn"),
        kn_id=_at(facts, "kernfs_node", "id"),
    )


def tree_layout(facts: Facts) -> TreeLayout:
    """Raises UnknownLayoutError."""
    css, memory = _at(facts, "mem_cgroup", "css"), _value(facts, "memory_cgrp_id", "cgroup_subsys_id")
    kmem = facts.offset("mem_cgroup", "kmem")
    return TreeLayout(
        task_cgroups=_at(facts, "task_struct", "cgroups"),
        css_set_memory=_at(facts, "css_set", "subsys") + 8 * memory,
        css_parent=css + _at(facts, "cgroup_subsys_state", "parent"),
        css_children=css + _at(facts, "cgroup_subsys_state", "children"),
        css_sibling=css + _at(facts, "cgroup_subsys_state", "sibling"),
        css_flags=css + _at(facts, "cgroup_subsys_state", "flags"),
        css_serial=css + _at(facts, "cgroup_subsys_state", "serial_nr"),
        online_flag=_value(facts, "CSS_ONLINE"),
        dying_flag=_value(facts, "CSS_DYING"),
        kn_name=_at(facts, "kernfs_node", "name"),
        kn_parent=_first(facts, "kernfs_node", "parent", "__parent"),  # 6.15: 633488947ef6
        kmem_usage=None if kmem is None else kmem + _at(facts, "page_counter", "usage"),
        kernel_item=_statistic(facts, "MEMCG_KMEM"),
        zswap_item=_statistic(facts, "MEMCG_ZSWAP_B"),
    )


def _statistic(facts: Facts, name: str) -> StatisticLayout | None:
    item = facts.enumerator(name, "memcg_stat_item")
    items = facts.enumerator("MEMCG_NR_STAT", "memcg_stat_item")
    statistics, state = facts.offset("mem_cgroup", "vmstats"), facts.offset("memcg_vmstats", "state")
    if item is None or items is None or statistics is None or state is None:
        return None
    if facts.field_size("memcg_vmstats", "state") == 8 * items:
        return StatisticLayout(statistics, state, item, None)
    # 6.11: ff48c71c26aa keeps only those that a memcg has, and this table says where
    index = facts.symbol("mem_cgroup_stats_index")
    return None if index is None else StatisticLayout(statistics, state, item, index + item)


def stock_layout(facts: Facts) -> StockLayout:
    """Raises UnknownLayoutError."""
    own = facts.size("obj_stock_pcp") is not None  # 6.16: c80509ef65a3
    struct = "obj_stock_pcp" if own else "memcg_stock_pcp"
    field = "cached" if facts.offset("obj_stock_pcp", "cached") is not None else "cached_objcg"
    entries = (facts.field_size(struct, field) or 8) // 8
    return StockLayout(
        variable="obj_stock" if own else "memcg_stock",
        objcgs=_at(facts, struct, field),
        bytes=_at(facts, struct, "nr_bytes"),  # 5.14 to 5.19 have one for tasks and one for interrupts
        entries=entries,
        bytes_size=(facts.field_size(struct, "nr_bytes") or 4) // entries,
        task_queue=_at(facts, "task_struct", "se") + _at(facts, "sched_entity", "cfs_rq"),
        queue_run=_at(facts, "cfs_rq", "rq"),
        run_cpu=_at(facts, "rq", "cpu"),
    )


def pin_layout(facts: Facts, page_bytes: int) -> PinLayout:
    """Raises UnknownLayoutError."""
    css = _at(facts, "mem_cgroup", "css")
    return PinLayout(
        page_bytes=page_bytes,
        page_mapping=_at(facts, "page", "mapping"),
        swap_backed_bit=_value(facts, "PG_swapbacked", "pageflags"),
        mapping_host=_at(facts, "address_space", "host"),
        inode_super=_at(facts, "inode", "i_sb"),
        inode_number=_at(facts, "inode", "i_ino"),
        inode_dentries=_at(facts, "inode", "i_dentry"),
        super_name=_at(facts, "super_block", "s_id"),
        dentry_alias=_first(facts, "dentry", "d_u", "d_alias"),
        dentry_parent=_at(facts, "dentry", "d_parent"),
        dentry_name=_at(facts, "dentry", "d_name.name"),
        css_references=css + _at(facts, "cgroup_subsys_state", "refcnt.data"),
        count=_at(facts, "percpu_ref_data", "count"),
    )


def percpu_layout(facts: Facts, page_bytes: int) -> PercpuLayout:
    """Raises UnknownLayoutError."""
    chunk = "pcpu_chunk"
    entries = facts.size("pcpuobj_ext")  # 6.10: 24e44cc22aa3
    return PercpuLayout(
        size=(facts.size(chunk) or 0) & ~7,
        list=_at(facts, chunk, "list"),
        bounds=_at(facts, chunk, "bound_map"),
        base=_at(facts, chunk, "base_addr"),
        pages=_at(facts, chunk, "nr_pages"),
        populated=_at(facts, chunk, "nr_populated"),
        vector=_first(facts, chunk, "obj_exts", "obj_cgroups"),
        entry_size=8 if entries is None else entries,
        entry_objcg=0 if entries is None else _at(facts, "pcpuobj_ext", "cgroup"),
        page_bytes=page_bytes,
        page_chunk=tuple(  # page->index, then from 6.17 on page->private
            offset for field in ("private", "index") if (offset := facts.offset("page", field)) is not None
        ),
        lists_by_type=facts.offset(chunk, "isolated") is None,
    )


def _order(facts: Facts, page: int) -> int:
    """In the page after the head: a byte of its own up to 6.5, then its flags' lowest (ebc1baf5c9b4)."""
    byte = facts.offset("page", "compound_order")
    if byte is None:
        byte = facts.offset("folio", "_folio_order")
        byte = None if byte is None else byte - page
    return page + (_at(facts, "page", "flags") if byte is None else byte)


def _at(facts: Facts, struct: str, field: str) -> int:
    return _first(facts, struct, field)


def _first(facts: Facts, struct: str, *fields: str) -> int:
    """Offset of the first of these fields that there is."""
    for field in fields:
        offset = facts.offset(struct, field)
        if offset is not None:
            return offset
    raise UnknownLayoutError(f"{struct} has no {' or '.join(fields)}")


def _value(facts: Facts, name: str, enum: str | None = None) -> int:
    value = facts.enumerator(name, enum)
    if value is None:
        raise UnknownLayoutError(f"there is no {name}")
    return value
