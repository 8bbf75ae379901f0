"""Says what the hooks of a Plan let be known of a charge."""

from dataclasses import dataclass

from kmemtrace.kernel.hooks import Event, Hook
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import MismatchClass


@dataclass(frozen=True, slots=True)
class Sees:
    """What this kernel and tier let be known; what is not is absent from a Cgroup."""

    kernel_total: bool
    """Whether the kernel's own total of a cgroup is seen."""
    reclaim: bool
    """Whether reclaim is seen that a task had to do for a charge."""
    charge: bool
    """Whether the charge itself is seen, and so its result and how long it took."""
    losses: bool
    """Whether it is seen that pages stay charged after their end."""
    latencies: tuple[str, ...]
    """The histograms of struct totals, in its order."""


def sees(plan: Plan) -> Sees:
    """Returns what the programs of a Plan can count."""

    def has(event: Event) -> bool:
        return isinstance(plan.hooks[event], Hook)

    latencies = ["lifetime"]
    latencies += ["charge"] if has(Event.CHARGE) else []
    latencies += ["alloc"] if isinstance(plan.alloc_function, Hook) else []
    return Sees(
        kernel_total=has(Event.KERNEL_TOTAL),
        reclaim=has(Event.RECLAIM_BEGIN) and has(Event.RECLAIM_END),
        charge=has(Event.CHARGE),
        losses=not {MismatchClass.LOST_UNCHARGE, MismatchClass.SIZE_MISMATCH} & plan.unjudged.keys(),
        latencies=tuple(latencies),
    )
