"""Has the table of hooks: for each logical event, a row per kernel generation, newest first.

A row is taken when the kernel has that tracepoint or function with exactly that prototype. Where two
rows agree in both, the version decides. A name that is there with another prototype is never hooked:
its arguments could be misread. So distributions' kernels fit that carry newer code under an old number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.model.unseen import Unseen


class Event(StrEnum):
    """What can happen to a charge, whatever the kernel calls it."""

    ALLOC = Unseen.ALLOC.value
    FREE = Unseen.FREE.value
    CHARGE = Unseen.CHARGE.value
    UNCHARGE = Unseen.UNCHARGE.value
    PUT_UNCHARGE = Unseen.PUT_UNCHARGE.value
    PUT_UNCHARGE_BATCH = Unseen.PUT_UNCHARGE_BATCH.value
    SPLIT = Unseen.SPLIT.value
    KERNEL_TOTAL = Unseen.KERNEL_TOTAL.value
    RECLAIM_BEGIN = Unseen.RECLAIM_BEGIN.value
    RECLAIM_END = Unseen.RECLAIM_END.value
    CGROUP_RMDIR = Unseen.CGROUP_RMDIR.value
    CGROUP_ATTACH = Unseen.CGROUP_ATTACH.value
    TASK_BORN = Unseen.TASK_BORN.value


class Mechanism(StrEnum):
    """What a hook is in the kernel. A function is probed by fentry or by kprobe: the tier's choice."""

    RAW_TRACEPOINT = "raw tracepoint"
    FUNCTION = "function"


Version = tuple[int, int]
_EVER: Version = (99, 0)

PAGE, MEMCG, CGROUP, TASK = (
    "struct page *",
    "struct mem_cgroup *",
    "struct cgroup *",
    "struct task_struct *",
)
FOLIO_BATCH, LIST = "struct folio_batch *", "struct list_head *"
GFP, INT, UINT, LONG, TEXT = "gfp_t", "int", "unsigned int", "long int", "char *"


@dataclass(frozen=True, slots=True)
class Hook:
    """One row of the table."""

    event: StrEnum
    """The event that it shows: an Event, or one of another table's."""
    name: str
    """Name of the tracepoint or function in the kernel."""
    mechanism: Mechanism
    prototype: tuple[str, ...]
    """Types of all arguments, as BTF has them; a kernel whose types are others does not get this row."""
    arguments: Mapping[str, int]
    """By name of an argument that we need, its position in the prototype."""
    since: Version
    """First version that has the hook."""
    until: Version
    """First version that no longer has the hook; _EVER where none is known."""
    why: str
    """The kernel change that made the row necessary."""


def _row(
    event: StrEnum,
    name: str,
    prototype: tuple[str, ...],
    arguments: str,
    since: Version,
    until: Version,
    why: str,
    mechanism: Mechanism = Mechanism.FUNCTION,
) -> Hook:
    """Makes a row; `arguments` names the positions of the prototype, with "-" for those not needed."""
    positions = {a: i for i, a in enumerate(arguments.split()) if a != "-"}
    assert len(arguments.split()) == len(prototype), name
    places = MappingProxyType(positions)
    return Hook(event, name, mechanism, prototype, places, since, until, why)


def tracepoint_row(
    event: StrEnum,
    name: str,
    prototype: tuple[str, ...],
    arguments: str,
    why: str,
    since: Version = (4, 8),
    until: Version = _EVER,
) -> Hook:
    """Makes a row of a raw tracepoint.

    Args:
        event: The event that it shows.
        name: Name of the tracepoint.
        prototype: Types of its arguments, without the first that the kernel gives each of its probes.
        arguments: Names for the positions of the prototype, "-" for those that are not needed.
        why: The kernel change that made the row necessary.
        since: First version that has the tracepoint so.
        until: First version that no longer has it so.
    """
    return _row(event, name, prototype, arguments, since, until, why, Mechanism.RAW_TRACEPOINT)


_ALLOC_ARGS = "gfp order - -"
_ZONELIST, _NODEMASK = "struct zonelist *", "nodemask_t *"
_UNTIL_5_12, _UNTIL_5_4 = (5, 13), (5, 5)

# fmt: off
HOOKS: tuple[Hook, ...] = (
    # alloc: the tracepoint stands behind the charge, so the page's mark is readable there.
    tracepoint_row(Event.ALLOC, "mm_page_alloc", (PAGE, UINT, GFP, INT), "page order gfp -",
                   "unchanged since 4.8"),
    _row(Event.ALLOC, "__alloc_frozen_pages_noprof", (GFP, UINT, INT, _NODEMASK, UINT), _ALLOC_ARGS + " -",
         (7, 3), _EVER, "7.3: takes alloc_flags from its caller"),
    _row(Event.ALLOC, "__alloc_frozen_pages_noprof", (GFP, UINT, INT, _NODEMASK), _ALLOC_ARGS,
         (6, 14), (7, 3), "6.14: frozen pages; __alloc_pages_noprof became a wrapper that large kmalloc bypasses"),
    _row(Event.ALLOC, "__alloc_pages_noprof", (GFP, UINT, INT, _NODEMASK), _ALLOC_ARGS,
         (6, 10), (6, 14), "6.10: memory allocation profiling renamed the allocator's entries"),
    _row(Event.ALLOC, "__alloc_pages", (GFP, UINT, INT, _NODEMASK), _ALLOC_ARGS,
         (5, 13), (6, 10), "5.13: __alloc_pages_nodemask renamed"),
    _row(Event.ALLOC, "__alloc_pages_nodemask", (GFP, UINT, INT, _NODEMASK), _ALLOC_ARGS,
         (4, 12), _UNTIL_5_12, "4.12: the zonelist gave way to a preferred node"),
    _row(Event.ALLOC, "__alloc_pages_nodemask", (GFP, UINT, _ZONELIST, _NODEMASK), _ALLOC_ARGS,
         (4, 8), (4, 12), "4.8: charging moved into the allocator"),
    # free: free_pages_prepare is inlined; this tracepoint stands at the top of its body.
    tracepoint_row(Event.FREE, "mm_page_free", (PAGE, UINT), "page order",
                   "stands at the top of free_pages_prepare, which is inlined up to 6.1; the function of that "
                   "name in later kernels serves compaction only"),
    _row(Event.CHARGE, "__memcg_kmem_charge_page", (PAGE, GFP, INT), "page gfp order",
         (5, 10), _EVER, "5.10: renamed, so that the old name could count pages of a memcg"),
    _row(Event.CHARGE, "__memcg_kmem_charge", (PAGE, GFP, INT), "page gfp order",
         (5, 0), (5, 6), "5.0: memcg_kmem_charge became an inline wrapper; in 5.10 to 5.12 the name takes (memcg, gfp, nr_pages)"),
    _row(Event.CHARGE, "memcg_kmem_charge", (PAGE, GFP, INT), "page gfp order",
         (4, 8), (5, 0), "4.8"),
    _row(Event.UNCHARGE, "__memcg_kmem_uncharge_page", (PAGE, INT), "page order",
         (5, 10), _EVER, "5.10: renamed, as the charge"),
    _row(Event.UNCHARGE, "__memcg_kmem_uncharge", (PAGE, INT), "page order",
         (5, 0), (5, 6), "5.0: memcg_kmem_uncharge became an inline wrapper; in 5.10 to 5.12 the name takes (memcg, nr_pages)"),
    _row(Event.UNCHARGE, "memcg_kmem_uncharge", (PAGE, INT), "page order",
         (4, 8), (5, 0), "4.8"),
    # put path: the functions that memcontrol.c offers to others. Their calls cannot be inlined, as those
    # of the static function that they share (uncharge_folio) can be, so no page passes them by.
    _row(Event.PUT_UNCHARGE, "__mem_cgroup_uncharge", ("struct folio *",), "page",
         (5, 16), _EVER, "5.16: takes a folio"),
    _row(Event.PUT_UNCHARGE, "__mem_cgroup_uncharge", (PAGE,), "page",
         (5, 12), (5, 16), "5.12: mem_cgroup_uncharge became an inline wrapper"),
    _row(Event.PUT_UNCHARGE, "mem_cgroup_uncharge", (PAGE,), "page",
         (4, 8), (5, 12), "4.8"),
    _row(Event.PUT_UNCHARGE_BATCH, "__mem_cgroup_uncharge_folios", (FOLIO_BATCH,), "batch",
         (6, 10), _EVER, "6.10: batches instead of lists"),
    _row(Event.PUT_UNCHARGE_BATCH, "__mem_cgroup_uncharge_list", (LIST,), "list",
         (5, 12), (6, 10), "5.12: mem_cgroup_uncharge_list became an inline wrapper"),
    _row(Event.PUT_UNCHARGE_BATCH, "mem_cgroup_uncharge_list", (LIST,), "list",
         (4, 8), (5, 12), "4.8"),
    _row(Event.SPLIT, "split_page_memcg", (PAGE, UINT), "head order",
         (6, 16), _EVER, "6.16: kmem only, takes the order again; the second argument counted pages before 6.10"),
    _row(Event.SPLIT, "split_page_memcg", (PAGE, INT, INT), "head order new_order",
         (6, 10), (6, 16), "6.10: splits to any order"),
    _row(Event.SPLIT, "split_page_memcg", (PAGE, UINT), "head nr",
         (5, 10), (6, 10), "5.12, and 5.10's stable series: called by split_page too (e1baddf8475b); counts pages"),
    _row(Event.SPLIT, "mem_cgroup_split_huge_fixup", (PAGE,), "head",
         (4, 8), (5, 12), "4.8; not called by split_page before e1baddf8475b"),
    tracepoint_row(Event.KERNEL_TOTAL, "mod_memcg_state", (MEMCG, INT, LONG), "memcg item val",
                   "7.2: val is a long", since=(7, 0)),
    tracepoint_row(Event.KERNEL_TOTAL, "mod_memcg_state", (MEMCG, INT, INT), "memcg item val",
                   "6.14: new tracepoint; val arrives zero-extended", since=(6, 14), until=(7, 0)),
    tracepoint_row(Event.RECLAIM_BEGIN, "mm_vmscan_memcg_reclaim_begin", (GFP, INT, MEMCG), "gfp order memcg",
                   "7.2: arguments swapped, memcg added", since=(7, 0)),
    tracepoint_row(Event.RECLAIM_BEGIN, "mm_vmscan_memcg_reclaim_begin", (INT, GFP), "order gfp",
                   "5.4: may_writepage and classzone dropped", since=(5, 2), until=(7, 0)),
    tracepoint_row(Event.RECLAIM_BEGIN, "mm_vmscan_memcg_reclaim_begin", (INT, INT, GFP, INT), "order - gfp -",
                   "4.8", until=(5, 2)),
    tracepoint_row(Event.RECLAIM_END, "mm_vmscan_memcg_reclaim_end", ("long unsigned int", MEMCG), "nr memcg",
                   "7.2: memcg added", since=(7, 0)),
    tracepoint_row(Event.RECLAIM_END, "mm_vmscan_memcg_reclaim_end", ("long unsigned int",), "nr",
                   "4.8", until=(7, 0)),
    tracepoint_row(Event.CGROUP_RMDIR, "cgroup_rmdir", (CGROUP, TEXT), "cgroup path",
                   "4.19: gives the path; before, it has to be looked up", since=(4, 18)),
    tracepoint_row(Event.CGROUP_ATTACH, "cgroup_attach_task", (CGROUP, TEXT, TASK, "bool"), "cgroup path task -",
                   "4.19: gives the path", since=(4, 18)),
    tracepoint_row(Event.TASK_BORN, "sched_process_fork", (TASK, TASK), "parent child", "4.8"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class NoHook:
    """Says why an event has no hook."""

    reason: str
    """Reason in words, as `kmemtrace check` shows it; no sentence of its own."""


def choose(
    event: StrEnum, mechanism: Mechanism, facts: Facts, table: tuple[Hook, ...] = HOOKS
) -> Hook | NoHook:
    """Returns the row of the table that fits this kernel, or why none does.

    Args:
        event: The event that is to be seen.
        mechanism: Whether a tracepoint or a function is looked for.
        facts: What is known of the kernel.
        table: The table to look in.
    """
    rows = [h for h in table if h.event is event and h.mechanism is mechanism]
    if not rows:
        return NoHook(f"no {mechanism} shows it on any kernel")
    found = {hook.name: _prototype(hook, facts) for hook in rows}
    fitting = [hook for hook in rows if found[hook.name] == hook.prototype]
    if fitting:
        return _of_several(fitting, facts.release)
    strangers = [f"{name}({', '.join(types)})" for name, types in found.items() if types is not None]
    if strangers:
        return NoHook(f"unknown prototype {strangers[0]}: its arguments could be misread")
    names = ", ".join(dict.fromkeys(h.name for h in rows))
    return NoHook(f"this kernel has no {mechanism} for it (looked for {names})")


def _of_several(rows: list[Hook], release: str) -> Hook | NoHook:
    """Returns, of rows that all fit by name and prototype, that of the kernel's version.

    Distributions' kernels may carry newer code under an older number. Then no row is of that version, and the
    newest is taken, unless one prototype means different things in different versions.
    """
    number, newest = version(release), rows[0]
    found = next((hook for hook in rows if hook.since <= number < hook.until), None)
    if found is not None:
        return found
    if any(hook.name == newest.name and hook.arguments != newest.arguments for hook in rows):
        return NoHook(f"what the arguments of {newest.name} mean is not known of a kernel {release}")
    return newest


def _prototype(hook: Hook, facts: Facts) -> tuple[str, ...] | None:
    """Returns the prototype that this kernel has under the hook's name; None where it has no such name."""
    if hook.mechanism is Mechanism.RAW_TRACEPOINT:
        return facts.tracepoint(hook.name)
    return facts.function(hook.name)
