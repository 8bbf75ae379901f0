"""Tells which mismatch classes can be judged on a kernel, in a tier, and why not the others."""

from collections.abc import Mapping

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.hooks import Event, Hook, NoHook
from kmemtrace.kernel.layout import Defines, preempt_count
from kmemtrace.model.enums import MismatchClass, Tier

_RING_SINCE = (5, 8)
"""First release with BPF's ring buffer (457f44363a88)."""
_TEST_RUN_SINCE = (5, 10)
"""First release with BPF_PROG_TEST_RUN of raw tracepoint programs (1b4d60ec162f)."""
_TASK_OBJCG_SINCE = (6, 7)
"""First release that asks by in_task() whether code runs in an interrupt, which leaves out code that only
holds softirqs off (1aacbd354313)."""
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
    """Returns for each class that is not judged the reason; classes that are judged are absent."""
    release = version(facts.release)
    if release < _RING_SINCE:
        return dict.fromkeys(MismatchClass, "evidence needs BPF's ring buffer, which 5.8 brought")
    why = {MismatchClass.COUNTER_DRIFT: "counters are reconciled by `kmemtrace verify -- COMMAND` only"}
    if release < _TASK_OBJCG_SINCE and not preempt_count(facts):
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
    if release < _TEST_RUN_SINCE or not page_map(facts, page_frames):
        why[MismatchClass.STRAY_UNCHARGE] = (
            "pages charged before the start cannot be looked for: where this kernel keeps its struct "
            "pages is not known"
        )
    return why


def page_map(facts: Facts, page_frames: int) -> Defines:
    """Says how to find the array of struct pages.

    It is found by its symbol, or, where it fills no more than what its start is aligned to, from any page in
    it.

    Returns:
        The constants for the programs that look for it; none where neither will do.
    """
    base = facts.symbol("vmemmap_base")  # x86, since 4.17
    if base is not None:
        return {"PAGE_MAP_AT": f"{base:#x}ULL"}
    stack = facts.offset("task_struct", "stack_vm_area")
    pages = facts.offset("vm_struct", "pages")
    if facts.machine != "x86_64" or page_frames > _SMALL_MACHINE or stack is None or pages is None:
        return {}
    return {"OFF_TASK_STACK_AREA": stack, "OFF_AREA_PAGES": pages}


def judged_defines(why: Mapping[MismatchClass, str]) -> Defines:
    """Returns JUDGE_<CLASS> for each class that BPF judges."""
    found: Defines = {f"JUDGE_{c.name}": 1 for c in MismatchClass if c not in why}
    return found | ({"WITH_VERDICTS": 1} if found else {})
