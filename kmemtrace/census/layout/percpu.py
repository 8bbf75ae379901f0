"""Layouts of the chunks of per-CPU memory, and of the stocks of the CPUs."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import at, first
from kmemtrace.kernel.facts import Facts


@dataclass(frozen=True, slots=True)
class PercpuLayout:
    """Where struct pcpu_chunk has what the census reads of it; offsets and sizes are in bytes."""

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
    """Offsets of the words of struct page that may name the chunk that it is part of."""
    lists_by_type: bool
    """Whether charged chunks are on lists of their own, as they are from 5.9 to 5.13 (faf65dde844a)."""


@dataclass(frozen=True, slots=True)
class StockLayout:
    """Where a CPU keeps its stock: bytes that are charged and given to no object yet."""

    variable: str
    """Name of the per-CPU variable."""
    objcgs: int
    bytes: int
    entries: int
    """Number of entries in both arrays, `objcgs` and `bytes`: one, or several from 7.0 on."""
    bytes_size: int
    """Size of one number of `bytes`."""
    task_queue: int
    """Offset in struct task_struct of the pointer to the queue that the task is on."""
    queue_run: int
    """Offset in that queue of the pointer to its CPU's run queue, which is a per-CPU variable."""
    run_cpu: int
    """Offset in that run queue of the number of the CPU."""


def percpu_layout(facts: Facts, page_bytes: int) -> PercpuLayout:
    """Works out the PercpuLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
    chunk = "pcpu_chunk"
    entries = facts.size("pcpuobj_ext")  # 6.10: 24e44cc22aa3
    return PercpuLayout(
        size=(facts.size(chunk) or 0) & ~7,
        list=at(facts, chunk, "list"),
        bounds=at(facts, chunk, "bound_map"),
        base=at(facts, chunk, "base_addr"),
        pages=at(facts, chunk, "nr_pages"),
        populated=at(facts, chunk, "nr_populated"),
        vector=first(facts, chunk, "obj_exts", "obj_cgroups"),
        entry_size=8 if entries is None else entries,
        entry_objcg=0 if entries is None else at(facts, "pcpuobj_ext", "cgroup"),
        page_bytes=page_bytes,
        page_chunk=tuple(  # page->index, then from 6.17 on page->private
            offset for field in ("private", "index") if (offset := facts.offset("page", field)) is not None
        ),
        lists_by_type=facts.offset(chunk, "isolated") is None,
    )


def stock_layout(facts: Facts) -> StockLayout:
    """Works out the StockLayout of this kernel.

    Raises:
        UnknownLayoutError: This kernel lacks one of the fields.
    """
    own = facts.size("obj_stock_pcp") is not None  # 6.16: c80509ef65a3
    struct = "obj_stock_pcp" if own else "memcg_stock_pcp"
    field = "cached" if facts.offset("obj_stock_pcp", "cached") is not None else "cached_objcg"
    entries = (facts.field_size(struct, field) or 8) // 8
    return StockLayout(
        variable="obj_stock" if own else "memcg_stock",
        objcgs=at(facts, struct, field),
        bytes=at(facts, struct, "nr_bytes"),  # 5.14 to 5.19 have one for tasks and one for interrupts
        entries=entries,
        bytes_size=(facts.field_size(struct, "nr_bytes") or 4) // entries,
        task_queue=at(facts, "task_struct", "se") + at(facts, "sched_entity", "cfs_rq"),
        queue_run=at(facts, "cfs_rq", "rq"),
        run_cpu=at(facts, "rq", "cpu"),
    )
