"""Tells whether the stack of a charge can be told by what was learned of its return addresses."""

from collections.abc import Mapping

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.plan import Attachment, Probe
from kmemtrace.model.enums import Tier

ALLOC = "page_alloc"
"""Name of the program that sees allocations."""
_GUARDED_SINCE = (5, 12)
"""From ca06f55b9002 on a task's program at a function is not run again by what interrupts that task."""


def why_not_learned(facts: Facts, tier: Tier, programs: Mapping[str, Probe]) -> str | None:
    """Says why the kernel has to walk the stack of each charge; None where most are known without.

    Args:
        facts: What is known of the kernel.
        tier: How functions are probed.
        programs: The programs, by name.
    """
    if facts.machine != "x86_64":
        signed = "may be signed on the stack (pointer authentication)" if facts.machine == "aarch64" else ""
        return f"return addresses {signed or 'were not learned from'} on {facts.machine}"
    if facts.symbol("_stext") is None:
        return "the kernel does not tell where its code lies"
    if tier is Tier.FENTRY and version(facts.release) < _GUARDED_SINCE:
        return "before Linux 5.12 a program of the fentry tier may interrupt itself"
    if tier is Tier.TRACEPOINT and not _is_on_stack(programs.get(ALLOC)):
        return "the program that sees allocations is not given a place on their stack"
    return None


def _is_on_stack(probe: Probe | None) -> bool:
    """Returns whether a program's context lies on the stack of what it is told of, as those of probes do."""
    return probe is not None and probe.attachment is Attachment.RAW_TRACEPOINT
