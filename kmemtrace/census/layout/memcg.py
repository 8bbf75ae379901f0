"""Layouts of the way from owners to their memcgs, and of the tree of these."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import at, first, value
from kmemtrace.kernel.facts import Facts

_POINTER = 8
"""Bytes."""


@dataclass(frozen=True, slots=True)
class OwnerLayout:
    """Offsets that lead from an object's or page's owner to its cgroup."""

    objcg_memcg: int
    objcg_bytes: int
    """Offset of the number of bytes that are charged ahead, besides those in the stocks of CPUs."""
    objcg_link: int
    """Offset of an objcg's link in the list of those that a memcg inherited from the removed ones below
    it."""
    memcg_objcg: int
    memcg_objcgs: int
    """Offset of the head of that list."""
    memcg_nodes: int | None
    """Offset of the pointers, one for each NUMA node, to what the two above lie in; None before 7.1, where
    they lie in the memcg itself."""
    memcg_cgroup: int
    cgroup_kn: int
    kn_id: int


@dataclass(frozen=True, slots=True)
class StatisticLayout:
    """Where one number of a memcg's statistics is: of it and those below it, as of the last flush."""

    statistics: int
    """In struct mem_cgroup, of the pointer to them, or of themselves."""
    state: int
    """Offset of the array within the statistics."""
    item: int
    index: int | None
    """Address of the byte that says where in the array the number stands; None where that is `item`
    itself."""
    embedded: bool
    """Up to 6.0 (410f8e82689e) they lie in the struct mem_cgroup itself."""


@dataclass(frozen=True, slots=True)
class TreeLayout:
    """Offsets that lead from a task to the tree of all memcgs, removed ones too, and to their names."""

    task_cgroups: int
    css_set_memory: int
    """Offset of the pointer to the memory controller's css, which a struct mem_cgroup begins with."""
    css_parent: int
    css_children: int
    css_sibling: int
    css_flags: int
    css_serial: int
    online_flag: int
    """Flag that is set until what the memcg was charged is handed to its parent, a moment after its
    removal."""
    dying_flag: int
    """Flag that is set from the memcg's removal on."""
    kn_name: int
    kn_parent: int
    kmem_usage: int | None
    """Offset of cgroup v1's counter of kernel memory, in pages."""
    kernel_item: StatisticLayout | None
    """The statistic of kernel memory; None before 5.18, and where its place is not told."""
    zswap_item: StatisticLayout | None
    """The statistic of compressed swap, in bytes (5.19+)."""


def owner_layout(facts: Facts) -> OwnerLayout:
    """Works out the OwnerLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
    by_node = facts.offset("mem_cgroup_per_node", "objcg_list") is not None
    holder = "mem_cgroup_per_node" if by_node else "mem_cgroup"
    return OwnerLayout(
        objcg_link=at(facts, "obj_cgroup", "list"),
        memcg_objcg=at(facts, holder, "objcg"),
        memcg_objcgs=at(facts, holder, "objcg_list"),
        memcg_nodes=at(facts, "mem_cgroup", "nodeinfo") if by_node else None,
        objcg_memcg=at(facts, "obj_cgroup", "memcg"),
        objcg_bytes=at(facts, "obj_cgroup", "nr_charged_bytes"),
        memcg_cgroup=at(facts, "mem_cgroup", "css.cgroup"),
        cgroup_kn=at(facts, "cgroup", "kn"),
        kn_id=at(facts, "kernfs_node", "id"),
    )


def tree_layout(facts: Facts) -> TreeLayout:
    """Works out the TreeLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
    css, memory = at(facts, "mem_cgroup", "css"), value(facts, "memory_cgrp_id", "cgroup_subsys_id")
    kmem = facts.offset("mem_cgroup", "kmem")
    return TreeLayout(
        task_cgroups=at(facts, "task_struct", "cgroups"),
        css_set_memory=at(facts, "css_set", "subsys") + 8 * memory,
        css_parent=css + at(facts, "cgroup_subsys_state", "parent"),
        css_children=css + at(facts, "cgroup_subsys_state", "children"),
        css_sibling=css + at(facts, "cgroup_subsys_state", "sibling"),
        css_flags=css + at(facts, "cgroup_subsys_state", "flags"),
        css_serial=css + at(facts, "cgroup_subsys_state", "serial_nr"),
        online_flag=value(facts, "CSS_ONLINE"),
        dying_flag=value(facts, "CSS_DYING"),
        kn_name=at(facts, "kernfs_node", "name"),
        kn_parent=first(facts, "kernfs_node", "parent", "__parent"),  # 6.15: 633488947ef6
        kmem_usage=None if kmem is None else kmem + at(facts, "page_counter", "usage"),
        kernel_item=statistic_layout(facts, "MEMCG_KMEM"),
        zswap_item=statistic_layout(facts, "MEMCG_ZSWAP_B"),
    )


def statistic_layout(facts: Facts, name: str) -> StatisticLayout | None:
    """None where this kernel has no such number, or does not tell its place."""
    item = facts.enumerator(name, "memcg_stat_item")
    items = facts.enumerator("MEMCG_NR_STAT", "memcg_stat_item")
    statistics, state = facts.offset("mem_cgroup", "vmstats"), facts.offset("memcg_vmstats", "state")
    if item is None or items is None or statistics is None:
        return None
    if state is None:  # up to 5.12 (2d146aa3aa84) they are the array alone
        whole = facts.field_size("mem_cgroup", "vmstats") == 8 * items
        return StatisticLayout(statistics, 0, item, None, embedded=True) if whole else None
    embedded = facts.field_size("mem_cgroup", "vmstats") != _POINTER
    if facts.field_size("memcg_vmstats", "state") == 8 * items:
        return StatisticLayout(statistics, state, item, None, embedded)
    # 6.11: ff48c71c26aa keeps only those that a memcg has, and this table says where
    index = facts.symbol("mem_cgroup_stats_index")
    return None if index is None else StatisticLayout(statistics, state, item, index + item, embedded)
