"""Works out where a kernel keeps what the BPF programs read, as constants for the compiler."""

from dataclasses import dataclass

from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts, version

Defines = dict[str, int | str]

GFP_ACCOUNT_BEFORE_5_4 = 0x100000
GFP_ACCOUNT = 0x400000
"""Value from 5.4 on, which moved the bit, of kernels whose BTF has no ___GFP_ACCOUNT_BIT (before 6.10)."""

_CHARGES_TASK_SINCE = (5, 13)
"""First release that charges a page by the task (b4e0b68fbd9d): before, it is charged to the memcg of the
owner of the task's address space."""


@dataclass(frozen=True, slots=True)
class PageMark:
    """How a generation of kernels marks a page as charged, and where it keeps the owner."""

    mark_field: str
    mark_size: int
    mark_mask: int
    mark_value: int
    owner_field: str
    owner_is_objcg: bool


# 5.15: bcfe06bf2622 and b4e0b68fbd9d made memcg_data of mem_cgroup, with the mark in bit 1; bit 0
# means a slab's vector of objcgs, so both are tested. In 5.11 and 5.12 the owner is a memcg.
_MEMCG_DATA = PageMark("memcg_data", 8, 3, 2, "memcg_data", owner_is_objcg=True)
_MEMCG_DATA_5_11 = PageMark("memcg_data", 8, 3, 2, "memcg_data", owner_is_objcg=False)
# 4.18: 6e292b9be7f4 gave page types their own bits, counted down from 0xf0000000.
_PAGE_TYPE = PageMark("page_type", 4, 0xF0000200, 0xF0000000, "mem_cgroup", owner_is_objcg=False)
# 4.8: 4949148ad433 marked kmem pages in _mapcount, as -512.
_MAPCOUNT = PageMark("_mapcount", 4, 0xFFFFFFFF, 0xFFFFFE00, "mem_cgroup", owner_is_objcg=False)


def kernel_version(release: str) -> Defines:
    """Returns what the header tree wants to know of the kernel.

    Args:
        release: The kernel's release, as `uname -r` gives it.
    """
    numbers = [*release.partition("-")[0].split("."), "0", "0"][:3]
    version = ",".join(n if n.isdigit() else "0" for n in numbers)
    return {"KMEMTRACE_KERNEL_VERSION": f"KERNEL_VERSION({version})"}


def page_mark(facts: Facts) -> PageMark:
    if facts.offset("page", "memcg_data") is not None:
        return _MEMCG_DATA_5_11 if version(facts.release) < (5, 13) else _MEMCG_DATA
    return _PAGE_TYPE if facts.offset("page", "page_type") is not None else _MAPCOUNT


def gfp_account(facts: Facts) -> int:
    """Returns the value of __GFP_ACCOUNT."""
    bit = facts.enumerator("___GFP_ACCOUNT_BIT")
    if bit is not None:
        return 1 << bit
    return GFP_ACCOUNT_BEFORE_5_4 if version(facts.release) < (5, 4) else GFP_ACCOUNT


_NEEDED = {
    "OFF_MEMCG_CSS": ("mem_cgroup", "css"),
    "OFF_MEMCG_CGROUP": ("mem_cgroup", "css.cgroup"),
    "OFF_CGROUP_KN": ("cgroup", "kn"),
    "OFF_CGROUP_ROOT": ("cgroup", "root"),
    "OFF_KN_ID": ("kernfs_node", "id"),
    "OFF_ROOT_HIERARCHY": ("cgroup_root", "hierarchy_id"),
    "OFF_TASK_CGROUPS": ("task_struct", "cgroups"),
    "OFF_TASK_FLAGS": ("task_struct", "flags"),
    "OFF_TASK_MM": ("task_struct", "mm"),
    "OFF_TASK_TGID": ("task_struct", "tgid"),
    "OFF_TASK_STACK": ("task_struct", "stack"),
    "OFF_MEMCG_CSS_FLAGS": ("mem_cgroup", "css.flags"),
    "OFF_CGROUP_LEVEL": ("cgroup", "level"),
    "OFF_PAGE_FLAGS": ("page", "flags"),
    "OFF_PAGE_LRU": ("page", "lru"),
    "OFF_COUNTER_USAGE": ("page_counter", "usage"),
    "OFF_COUNTER_MAX": ("page_counter", "max"),
    "OFF_COUNTER_PARENT": ("page_counter", "parent"),
    "OFF_MEMCG_MEMORY": ("mem_cgroup", "memory"),
}


def defines(facts: Facts) -> Defines:
    """Returns constants for the probes: OFF_* in bytes, and the page mark's.

    Raises:
        CannotError: This kernel's BTF lacks something; the message names it.
    """
    mark = page_mark(facts)
    needed = _NEEDED | {
        "OFF_PAGE_MARK": ("page", mark.mark_field),
        "OFF_PAGE_OWNER": ("page", mark.owner_field),
    }
    if mark.owner_is_objcg:
        needed["OFF_OBJCG_MEMCG"] = ("obj_cgroup", "memcg")
    found: Defines = {
        "MARK_SIZE": mark.mark_size,
        "MARK_MASK": mark.mark_mask,
        "MARK_VALUE": mark.mark_value,
        "GFP_ACCOUNT": gfp_account(facts),
    }
    missing = [f"{s}.{f}" for s, f in needed.values() if facts.offset(s, f) is None]
    if missing:
        raise CannotError(
            f"This kernel ({facts.release}) lays out its types in a way kmemtrace does not know: "
            f"{', '.join(missing)} not found. Please report it with the output of `kmemtrace check`."
        )
    for name, (struct, field) in needed.items():
        found[name] = _offset(facts, struct, field)
    if version(facts.release) < _CHARGES_TASK_SINCE:
        found["OFF_MM_OWNER"] = _offset(facts, "mm_struct", "owner")
    return (
        found | _optional(facts) | _sizes(facts) | _order(facts) | _memory_css(facts) | preempt_count(facts)
    )


def preempt_count(facts: Facts) -> Defines:
    """Returns where preempt_count lies: in the task (arm64, riscv64), or on x86 with the CPU's variables.

    There it is nothing where the symbol table does not tell.
    """
    in_task = facts.offset("task_struct", "thread_info.preempt_count")
    if in_task is not None:
        return {"OFF_TASK_PREEMPT_COUNT": in_task}
    offsets = facts.symbol("__per_cpu_offset")
    count = facts.symbol("__preempt_count")
    hot = facts.symbol("pcpu_hot")  # 6.2 to 6.14: 64701838bf05
    if count is None and hot is not None:
        at = facts.offset("pcpu_hot", "preempt_count")
        count = None if at is None else hot + at
    if offsets is None or count is None:
        return {}
    return {"PER_CPU_OFFSETS": f"{offsets:#x}ULL", "PREEMPT_COUNT_AT": f"{count:#x}ULL"}


def subtree_defines(facts: Facts, cgroup_id: int, level: int) -> Defines:
    """Returns constants that limit the programs to one cgroup and what is below it.

    Raises:
        CannotError: This kernel's cgroups keep no ids of their ancestors (before 5.5).
    """
    at: Defines = {"SUBTREE_ID": cgroup_id, "SUBTREE_LEVEL": level}
    # 6.1: 7f203bc89eb6 replaced ancestor_ids[] by ancestors[]
    ancestors = facts.offset("cgroup", "ancestors")
    ids = facts.offset("cgroup", "ancestor_ids")
    if ancestors is not None:
        return at | {"OFF_CGROUP_ANCESTORS": ancestors}
    if ids is not None and version(facts.release) >= (5, 5):  # 743210386c03: 64-bit kernfs ids
        return at | {"OFF_CGROUP_ANCESTORS": ids, "ANCESTORS_ARE_IDS": 1}
    raise CannotError(f"--cgroup needs kernel 5.5 or later; this is {facts.release}.")


def _offset(facts: Facts, struct: str, field: str) -> int:
    offset = facts.offset(struct, field)
    if offset is None:
        raise CannotError(f"This kernel ({facts.release}) has no {struct}.{field}.")
    return offset


_OPTIONAL = {
    # page counters of cgroup v1
    "OFF_MEMCG_MEMSW": ("mem_cgroup", "memsw"),
    "OFF_MEMCG_KMEM": ("mem_cgroup", "kmem"),
    "OFF_TASK_ACTIVE_MEMCG": ("task_struct", "active_memcg"),  # 4.19: remote charges
    "OFF_TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "OFF_TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "OFF_TASK_COMM": ("task_struct", "comm"),
    "OFF_TASK_OBJCG": ("task_struct", "objcg"),  # 6.7: 1aacbd354313
    "OFF_BATCH_NR": ("folio_batch", "nr"),  # 5.16
    "OFF_BATCH_FOLIOS": ("folio_batch", "folios"),
}


def _optional(facts: Facts) -> Defines:
    """Returns constants for what only some kernels have, or some hooks need."""
    found: Defines = {}
    for name, (struct, field) in _OPTIONAL.items():
        offset = facts.offset(struct, field)
        if offset is not None:
            found[name] = offset
    kmem = facts.enumerator("MEMCG_KMEM", "memcg_stat_item")
    if kmem is not None:
        found["MEMCG_KMEM"] = kmem
    return found


def _sizes(facts: Facts) -> Defines:
    size = facts.size("page") or 0
    if size == 0 or size & (size - 1):
        raise CannotError(
            f"struct page has {size} bytes on this kernel; kmemtrace needs a power of two, as every "
            "64-bit distribution kernel has."
        )
    head = facts.enumerator("PG_head", "pageflags")
    if head is None:
        raise CannotError(f"This kernel ({facts.release}) does not tell which page flag marks a head.")
    return {"STRUCT_PAGE_SHIFT": size.bit_length() - 1, "PG_HEAD": head}


def order_offset(facts: Facts) -> int | None:
    """Returns the offset from a compound page's head of the byte that holds its order.

    It is in the page after the head: a byte of its own up to 6.5, then its flags' lowest (ebc1baf5c9b4).
    """
    page, byte = facts.size("page") or 0, facts.offset("page", "compound_order")
    if byte is None:
        byte = facts.offset("folio", "_folio_order")
        byte = None if byte is None else byte - page
    if byte is None:
        byte = facts.offset("page", "flags")
    return None if byte is None else page + byte


def _order(facts: Facts) -> Defines:
    """Returns where the order of compound pages is, and what tells a page table (6.11: 4ffca5a96678)."""
    order, type_ = order_offset(facts), facts.offset("page", "page_type")
    table = facts.enumerator("PGTY_table", "pagetype")
    found: Defines = {} if order is None else {"OFF_PAGE_ORDER": order}
    if table is not None and type_ is not None:
        found |= {"PAGE_TYPE_TABLE": table, "OFF_PAGE_TYPE": type_}
    return found


def _memory_css(facts: Facts) -> Defines:
    index = facts.enumerator("memory_cgrp_id", "cgroup_subsys_id")
    if index is None:
        raise CannotError("This kernel has no memory controller (CONFIG_MEMCG).")
    return {"OFF_CSS_SET_MEMORY": _offset(facts, "css_set", "subsys") + 8 * index}
