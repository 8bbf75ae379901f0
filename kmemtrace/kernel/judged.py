"""Tells which mismatch classes can be judged on a kernel, in a tier, and why not the others."""

from collections.abc import Mapping
from dataclasses import dataclass

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.hooks import Event, Hook, NoHook
from kmemtrace.kernel.layout import Defines, preempt_count
from kmemtrace.model.enums import MismatchClass, Tier

_IN_TASK_SINCE = (6, 7)
"""Since 1aacbd354313 the kernel asks by in_task() whether code runs in an interrupt; that leaves out code
that only holds softirqs off."""
MAPS_ALIGNED = 1 << 30
"""What x86 aligns the places of its struct pages and of its map of all memory to, also when it puts them at
random (CONFIG_RANDOMIZE_MEMORY)."""
_SMALL_MACHINE = 1 << 24
"""Page frames whose struct pages fill the 1 GiB that their start is aligned to."""

_NO_UNCHARGE = (
    "without function probes the end of a charge is seen only when its page is freed, which tells "
    "nothing of its uncharge"
)


def unjudged(
    facts: Facts, tier: Tier, hooks: Mapping[Event, Hook | NoHook], page_frames: int
) -> dict[MismatchClass, str]:
    """Returns for each class that is not judged the reason; classes that are judged are absent.

    Args:
        facts: What is known of the kernel.
        tier: How its events are hooked.
        hooks: By event the hook that was found, or why there is none.
        page_frames: One more than the number of the machine's highest page frame.
    """
    why = {MismatchClass.COUNTER_DRIFT: "counters are reconciled by `kmemtrace verify -- COMMAND` only"}
    if version(facts.release) < _IN_TASK_SINCE and not preempt_count(facts):
        why[MismatchClass.UNCHARGED_ALLOC] = (
            "this kernel's symbol table does not tell where preempt_count is, so an interrupt's "
            "allocation, which nobody is charged for, cannot be told from others"
        )
    if tier is Tier.TRACEPOINT:
        without = (MismatchClass.LOST_UNCHARGE, MismatchClass.STRAY_UNCHARGE, MismatchClass.SIZE_MISMATCH)
        return why | dict.fromkeys(without, _NO_UNCHARGE)
    for event in (Event.PUT_UNCHARGE, Event.PUT_UNCHARGE_BATCH):
        hook = hooks[event]
        if isinstance(hook, NoHook):
            why[MismatchClass.LOST_UNCHARGE] = f"the put path is not seen as a whole: {hook.reason}"
    split = hooks[Event.SPLIT]
    if isinstance(split, NoHook):
        why[MismatchClass.SIZE_MISMATCH] = f"splits are not seen: {split.reason}"
    if page_map(facts, page_frames) is None:
        why[MismatchClass.STRAY_UNCHARGE] = (
            "pages charged before the start cannot be looked for: where this kernel keeps its struct "
            "pages is not known"
        )
    return why


@dataclass(frozen=True, slots=True)
class PageMap:
    """Where a kernel keeps the array of its struct pages."""

    defines: Defines
    """Constants by which find_page_map() finds it."""
    by_symbol: bool
    """Whether find_page_map() answers the array's start, or the address of any struct page in it."""


def page_map(facts: Facts, page_frames: int) -> PageMap | None:
    """Returns how to find the array of struct pages.

    It is found by its symbol, or, where it fills no more than what its start is aligned to, from any page in
    it.

    Args:
        facts: What is known of the kernel.
        page_frames: One more than the number of the machine's highest page frame.

    Returns:
        The way to find it; None where neither will do.
    """
    base = facts.symbol("vmemmap_base")  # x86, since 4.17
    if base is not None:
        return PageMap({"PAGE_MAP_AT": f"{base:#x}ULL"}, by_symbol=True)
    stack = facts.offset("task_struct", "stack_vm_area")
    pages = facts.offset("vm_struct", "pages")
    if facts.machine != "x86_64" or page_frames > _SMALL_MACHINE or stack is None or pages is None:
        return None
    return PageMap({"OFF_TASK_STACK_AREA": stack, "OFF_AREA_PAGES": pages}, by_symbol=False)


def judged_defines(why: Mapping[MismatchClass, str]) -> Defines:
    """Returns JUDGE_<CLASS> for each class that BPF judges."""
    return {f"JUDGE_{c.name}": 1 for c in MismatchClass if c not in why}
