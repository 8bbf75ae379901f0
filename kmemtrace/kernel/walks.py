"""Tells whether the stack of a charge can be told by what was learned of its return addresses."""

from collections.abc import Mapping

from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.plan import Attachment, Probe
from kmemtrace.model.enums import Tier

ALLOC = "page_alloc"
"""Name of the program that sees allocations."""


def why_not_learned(facts: Facts, tier: Tier, programs: Mapping[str, Probe]) -> str | None:
    """Says why the kernel has to walk the stack of each charge; None where most are known without.

    Args:
        facts: What is known of the kernel.
        tier: How functions are probed.
        programs: The programs, by name.
    """
    if facts.machine != "x86_64":
        return f"what was learned of a return address is not relied upon on {facts.machine}"
    if facts.symbol("_stext") is None:
        return "the kernel does not tell where its code lies"
    if tier is not Tier.TRACEPOINT:
        return f"the {tier} tier sees a charge in a program of another function than the allocator"
    alloc = programs.get(ALLOC)
    if alloc is None or alloc.attachment is not Attachment.RAW_TRACEPOINT:
        return "the program that sees allocations is not given a place on their stack"
    return None
