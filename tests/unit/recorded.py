"""Kernels as recorded facts: what BTF and the symbol table of each generation say.

From Debian's kernel sources and docs/kmemcg.md. Those before 5.5 had no BTF: such code is met only where a
distribution gave it some.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kmemtrace.kernel.facts import version
from kmemtrace.kernel.instructions import Cast
from kmemtrace.model.enums import Tier

PAGE, MEMCG, CGROUP = "struct page *", "struct mem_cgroup *", "struct cgroup *"
NODEMASK = "nodemask_t *"

_TRACEPOINTS: Mapping[str, tuple[str, ...]] = {
    "mm_page_alloc": (PAGE, "unsigned int", "gfp_t", "int"),
    "mm_page_free": (PAGE, "unsigned int"),
    "mm_vmscan_memcg_reclaim_begin": ("int", "gfp_t"),
    "mm_vmscan_memcg_reclaim_end": ("long unsigned int",),
    "cgroup_rmdir": (CGROUP, "char *"),
    "cgroup_attach_task": (CGROUP, "char *", "struct task_struct *", "bool"),
    "sched_process_fork": ("struct task_struct *", "struct task_struct *"),
}

_KMEM: Mapping[str, tuple[str, ...]] = {
    "__memcg_kmem_charge_page": (PAGE, "gfp_t", "int"),
    "__memcg_kmem_uncharge_page": (PAGE, "int"),
}

_PUT: Mapping[str, tuple[str, ...]] = {
    "__mem_cgroup_uncharge": ("struct folio *",),
    "__mem_cgroup_uncharge_folios": ("struct folio_batch *",),
}

# Offsets are not those of a real build: the tests ask which field is used, not where it lies.
_FIELDS: Mapping[tuple[str, str], int] = {
    ("mem_cgroup", "css"): 0,
    ("mem_cgroup", "css.cgroup"): 8,
    ("mem_cgroup", "memory"): 16,
    ("cgroup", "kn"): 24,
    ("cgroup", "root"): 32,
    ("cgroup", "level"): 40,
    ("kernfs_node", "id"): 48,
    ("cgroup_root", "hierarchy_id"): 56,
    ("task_struct", "cgroups"): 64,
    ("css_set", "subsys"): 72,
    ("task_struct", "flags"): 65,
    ("task_struct", "mm"): 66,
    ("task_struct", "tgid"): 70,
    ("task_struct", "stack"): 67,
    ("task_struct", "real_parent"): 73,
    ("task_struct", "group_leader"): 74,
    ("task_struct", "comm"): 75,
    ("mm_struct", "owner"): 68,
    ("mem_cgroup", "css.flags"): 69,
    ("page", "flags"): 0,
    ("page", "lru"): 8,
    ("page_counter", "usage"): 80,
    ("page_counter", "max"): 88,
    ("page_counter", "parent"): 96,
    ("trace_event_raw_mm_page_alloc", "pfn"): 8,
    ("trace_event_raw_mm_page_alloc", "order"): 16,
    ("trace_event_raw_mm_page_alloc", "gfp_flags"): 24,
}
_OBJCG = {("page", "memcg_data"): 104, ("obj_cgroup", "memcg"): 112}
_PAGE_TYPE = {("page", "page_type"): 120, ("page", "mem_cgroup"): 128}
_IDS, _ANCESTORS = {("cgroup", "ancestor_ids"): 136}, {("cgroup", "ancestors"): 144}


_ENUMERATORS = {"memory_cgrp_id": 4, "PG_head": 16}
PAGE_PATH = {
    ("task_struct", "files"): 152,
    ("files_struct", "fdt"): 160,
    ("fdtable", "fd"): 168,
    ("file", "f_mapping"): 176,
    ("address_space", "i_pages.xa_head"): 184,
}
"""From a task to the page of a file."""
_SYMBOLS = {
    "__per_cpu_offset": 1 << 20,
    "__preempt_count": 1 << 10,
    "_stext": 1 << 22,
    "vmemmap_base": 1 << 21,
}


@dataclass(frozen=True)
class Recorded:
    """Facts of one kernel; see kmemtrace.kernel.facts.Facts."""

    release: str
    tracepoints: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _TRACEPOINTS)
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fields: Mapping[tuple[str, str], int] = field(default_factory=lambda: _FIELDS)
    enumerators: Mapping[str, int] = field(default_factory=lambda: _ENUMERATORS)
    page_size: int = 64
    refusals: Mapping[Tier, str] = field(default_factory=dict)
    symbols: Mapping[str, int] = field(default_factory=lambda: _SYMBOLS)
    machine: str = "x86_64"
    numbers: Mapping[str, int] = field(default_factory=lambda: {"mm_page_alloc": 521})
    """Of classic tracepoints, where tracefs is mounted."""

    def tracepoint(self, name: str) -> tuple[str, ...] | None:
        return self.tracepoints.get(name)

    def tracepoint_number(self, group: str, name: str) -> int | None:  # noqa: ARG002
        return self.numbers.get(name)

    def function(self, name: str) -> tuple[str, ...] | None:
        return self.functions.get(name)

    def offset(self, struct: str, field: str) -> int | None:
        return self.fields.get((struct, field))

    def bit(self, struct: str, field: str) -> int | None:  # noqa: ARG002
        return None

    def percpu_offset(self, variable: str) -> int | None:  # noqa: ARG002
        return None

    def field_size(self, struct: str, field: str) -> int | None:
        return 8 if (struct, field) in self.fields else None

    def size(self, struct: str) -> int | None:
        return self.page_size if struct == "page" else None

    def enumerator(self, name: str, enum: str | None = None) -> int | None:  # noqa: ARG002
        return self.enumerators.get(name)

    def function_id(self, name: str) -> int | None:
        return 1 if name in self.functions else None

    def cast(self) -> Cast | None:
        return Cast(100_003, 101) if version(self.release) >= (6, 2) else None

    def typed_task(self, at: Sequence[int]) -> int | None:
        return 158 if at and version(self.release) >= (5, 11) else None

    def exchanges(self) -> bool:
        return version(self.release) >= (5, 12)

    def symbol(self, name: str) -> int | None:
        return self.symbols.get(name)

    def refusal(self, tier: Tier) -> str | None:
        return self.refusals.get(tier)


_OBJECT, _CALL_SITE, _CACHE = "void *", "long unsigned int", "struct kmem_cache *"
_SIZES = ("size_t", "size_t", "gfp_t")

OBJECT_TRACEPOINTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "5.10": {
        "kmem_cache_alloc": (_CALL_SITE, _OBJECT, *_SIZES),
        "kmem_cache_alloc_node": (_CALL_SITE, _OBJECT, *_SIZES, "int"),
        "kmalloc": (_CALL_SITE, _OBJECT, *_SIZES),
        "kmalloc_node": (_CALL_SITE, _OBJECT, *_SIZES, "int"),
        "kmem_cache_free": (_CALL_SITE, _OBJECT),
        "kfree": (_CALL_SITE, _OBJECT),
    },
    "6.0": {
        "kmem_cache_alloc": (_CALL_SITE, _OBJECT, _CACHE, *_SIZES),
        "kmem_cache_alloc_node": (_CALL_SITE, _OBJECT, _CACHE, *_SIZES, "int"),
        "kmalloc": (_CALL_SITE, _OBJECT, _CACHE, *_SIZES),
        "kmalloc_node": (_CALL_SITE, _OBJECT, _CACHE, *_SIZES, "int"),
        "kmem_cache_free": (_CALL_SITE, _OBJECT, "char *"),
        "kfree": (_CALL_SITE, _OBJECT),
    },
    # 6.1, 6.12, 6.16, 6.17, 6.18 and 7.3 alike.
    "6.1": {
        "kmem_cache_alloc": (_CALL_SITE, _OBJECT, _CACHE, "gfp_t", "int"),
        "kmalloc": (_CALL_SITE, _OBJECT, *_SIZES, "int"),
        "kmem_cache_free": (_CALL_SITE, _OBJECT, _CACHE),
        "kfree": (_CALL_SITE, _OBJECT),
    },
}
"""Those of slab objects."""

_STATE_INT = {"mod_memcg_state": (MEMCG, "int", "int")}
_KMEM_TOTAL = {**_ENUMERATORS, "MEMCG_KMEM": 55, "___GFP_ACCOUNT_BIT": 22}

_OLD_KMEM: Mapping[str, tuple[str, ...]] = {
    "memcg_kmem_charge": (PAGE, "gfp_t", "int"),
    "memcg_kmem_uncharge": (PAGE, "int"),
}
_OLD_PUT: Mapping[str, tuple[str, ...]] = {
    "mem_cgroup_uncharge": (PAGE,),
    "mem_cgroup_uncharge_list": ("struct list_head *",),
}

KERNELS: Mapping[str, Recorded] = {
    "4.8": Recorded(
        "4.8.17",
        tracepoints={n: p for n, p in _TRACEPOINTS.items() if n != "cgroup_rmdir"},
        functions={
            "__alloc_pages_nodemask": ("gfp_t", "unsigned int", "struct zonelist *", NODEMASK),
            **_OLD_KMEM,
            **_OLD_PUT,
        },
        fields={**_FIELDS, ("page", "_mapcount"): 120, ("page", "mem_cgroup"): 128},
    ),
    "4.19": Recorded(
        "4.19.0-27-amd64",
        functions={
            "__alloc_pages_nodemask": ("gfp_t", "unsigned int", "int", NODEMASK),
            **_OLD_KMEM,
            **_OLD_PUT,
        },
        fields={**_FIELDS, **_PAGE_TYPE},
    ),
    "5.4": Recorded(
        "5.4.0-200-generic",
        functions={
            "__alloc_pages_nodemask": ("gfp_t", "unsigned int", "int", NODEMASK),
            "__memcg_kmem_charge": (PAGE, "gfp_t", "int"),
            "__memcg_kmem_uncharge": (PAGE, "int"),
            **_OLD_PUT,
        },
        fields={**_FIELDS, **_PAGE_TYPE, **_IDS},
    ),
    "5.10": Recorded(
        "5.10.0-36-amd64",
        functions={
            **_KMEM,
            "__alloc_pages_nodemask": ("gfp_t", "unsigned int", "int", NODEMASK),
            # The trap: the same names as 5.4's, counting pages of a memcg.
            "__memcg_kmem_charge": (MEMCG, "gfp_t", "unsigned int"),
            "__memcg_kmem_uncharge": (MEMCG, "unsigned int"),
            "mem_cgroup_uncharge": (PAGE,),
            "mem_cgroup_uncharge_list": ("struct list_head *",),
            "split_page_memcg": (PAGE, "unsigned int"),
        },
        fields={**_FIELDS, **_PAGE_TYPE, **_IDS},
    ),
    "6.1": Recorded(
        "6.1.0-48-amd64",
        functions={
            **_KMEM,
            "__alloc_pages": ("gfp_t", "unsigned int", "int", NODEMASK),
            "__mem_cgroup_uncharge": ("struct folio *",),
            "__mem_cgroup_uncharge_list": ("struct list_head *",),
            "split_page_memcg": (PAGE, "unsigned int"),
        },
        fields={**_FIELDS, **_OBJCG, **_ANCESTORS},
        enumerators={**_ENUMERATORS, "MEMCG_KMEM": 48},
    ),
    "6.12": Recorded(
        "6.12.43+deb13-amd64",
        functions={
            **_KMEM,
            "__alloc_pages_noprof": ("gfp_t", "unsigned int", "int", NODEMASK),
            "uncharge_folio": ("struct folio *", "struct uncharge_gather *"),
            **_PUT,
            "split_page_memcg": (PAGE, "int", "int"),
        },
        fields={**_FIELDS, **_OBJCG, **_ANCESTORS},
        enumerators=_KMEM_TOTAL,
    ),
    "6.18": Recorded(
        "6.18.44",
        tracepoints={**_TRACEPOINTS, **_STATE_INT},
        functions={
            **_KMEM,
            "__alloc_frozen_pages_noprof": ("gfp_t", "unsigned int", "int", NODEMASK),
            "__alloc_pages_noprof": ("gfp_t", "unsigned int", "int", NODEMASK),
            "uncharge_folio": ("struct folio *", "struct uncharge_gather *"),
            **_PUT,
            "split_page_memcg": (PAGE, "unsigned int"),
        },
        fields={**_FIELDS, **_OBJCG, **_ANCESTORS},
        enumerators=_KMEM_TOTAL,
    ),
    "7.2": Recorded(
        "7.2-amd64",
        tracepoints={
            **_TRACEPOINTS,
            "mod_memcg_state": (MEMCG, "int", "long int"),
            "mm_vmscan_memcg_reclaim_begin": ("gfp_t", "int", MEMCG),
            "mm_vmscan_memcg_reclaim_end": ("long unsigned int", MEMCG),
        },
        functions={
            **_KMEM,
            "__alloc_frozen_pages_noprof": ("gfp_t", "unsigned int", "int", NODEMASK),
            **_PUT,
            "split_page_memcg": (PAGE, "unsigned int"),
        },
        fields={**_FIELDS, **_OBJCG, **_ANCESTORS},
        enumerators=_KMEM_TOTAL,
    ),
    "7.3": Recorded(
        "7.3.4+deb13-amd64",
        tracepoints={
            **_TRACEPOINTS,
            "mod_memcg_state": (MEMCG, "int", "long int"),
            "mm_vmscan_memcg_reclaim_begin": ("gfp_t", "int", MEMCG),
            "mm_vmscan_memcg_reclaim_end": ("long unsigned int", MEMCG),
        },
        functions={
            **_KMEM,
            "__alloc_frozen_pages_noprof": ("gfp_t", "unsigned int", "int", NODEMASK, "unsigned int"),
            **_PUT,
            "split_page_memcg": (PAGE, "unsigned int"),
        },
        fields={**_FIELDS, **_OBJCG, **_ANCESTORS},
        enumerators=_KMEM_TOTAL,
    ),
}

ARM64: Mapping[str, Recorded] = {
    series: dataclasses.replace(
        KERNELS[series],
        release=release,
        machine="aarch64",
        fields={**KERNELS[series].fields, **PAGE_PATH, ("task_struct", "thread_info.preempt_count"): 8},
        # What there is of those that are looked for, in Debian's.
        symbols={"__per_cpu_offset": 1 << 20, "_stext": 1 << 22},
    )
    for series, release in (("6.1", "6.1.0-50-arm64"), ("6.12", "6.12.117+deb13-arm64"))
}
"""On aarch64: types and prototypes are the same, but for what is named here."""
