"""Tells which mismatch classes can be judged on a kernel, in a tier, and why not the others."""

from collections.abc import Mapping

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.hooks import Event, Hook, NoHook
from kmemtrace.kernel.layout import Defines, preempt_count
from kmemtrace.kernel.page_map import page_map
from kmemtrace.model.enums import MismatchClass, Tier

_IN_TASK_SINCE = (6, 7)
"""Since 1aacbd354313 the kernel asks by in_task() whether code runs in an interrupt; that leaves out code
that only holds softirqs off."""
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


def judged_defines(why: Mapping[MismatchClass, str]) -> Defines:
    """Returns JUDGE_<CLASS> for each class that BPF judges."""
    return {f"JUDGE_{c.name}": 1 for c in MismatchClass if c not in why}
