"""Tells whether a task can lose its CPU in the middle of the program that sees allocations.

The kernel skips a program that is already running on the CPU. While none is preempted, that is so in an
interrupt alone, and an interrupt's allocations are charged to nobody: nothing that is judged was missed. A
task that is preempted within the program keeps it from all others on that CPU for a time slice. The classic
tracepoint avoids it.
"""

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.layout import Defines, preempt_count
from kmemtrace.kernel.page_map import By, page_map

_RAW_SINCE = (7, 0)
"""First release whose raw tracepoints no longer shut preemption out (a46023d5616e and f7d327654b88). Classic
ones do still, in the kernel's perf_trace_*(); and are told the page frame's number, not its struct page."""

_RECORD = (("pfn", 8), ("order", 16), ("gfp_flags", 24))
"""Fields of the classic tracepoint's record, as the program reads them, and their offsets in bytes."""


def raw_programs_are_preempted(facts: Facts) -> bool:
    """Returns whether a task can be preempted within a program on a raw tracepoint."""
    return version(facts.release) >= _RAW_SINCE


def classic_alloc(facts: Facts, page_frames: int) -> tuple[int, Defines] | None:
    """Chooses the classic tracepoint of allocations, where the raw one's program would be preempted.

    Returns:
        Its number, and the constants that its program needs; None where raw programs are not preempted, or
        where the classic one cannot do what the raw one does.
    """
    number = facts.tracepoint_number("kmem", "mm_page_alloc")
    record = [(name, facts.offset("trace_event_raw_mm_page_alloc", name)) for name, _ in _RECORD]
    struct_pages = page_map(facts, page_frames)
    if not raw_programs_are_preempted(facts) or number is None or tuple(record) != _RECORD:
        return None
    # Its context is no longer on the task's stack, which would tell an interrupt.
    if struct_pages is None or struct_pages.by is not By.SYMBOL or not preempt_count(facts):
        return None
    return number, struct_pages.defines | {"CLASSIC_ALLOC": 1}
