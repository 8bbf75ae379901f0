"""Takes what the programs found, and what was missed meanwhile, and judges it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Exemption, MismatchClass, Tier
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.tracer.maps import ArrayMap, Records
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.structs import FINDING, ID
from kmemtrace.tracer.verdicts import Place, Sight, Verdicts


@dataclass(frozen=True, slots=True)
class Judged:
    """All that was found since the start, and the losses that it was judged by."""

    losses: Losses
    mismatches: tuple[Mismatch, ...]
    by_cgroup: Mapping[int, Mapping[MismatchClass, int]]
    """How many mismatches of each class there are, by the id of the cgroup that was charged."""
    doubtful: Mapping[Place, int]
    """By place, base pages that the programs count as lost and that suspects alone speak for."""
    exempted: Mapping[Exemption, int]
    """How many findings turned out to be legal here, and not in the programs already, by the reason."""


class Judge:
    """Takes the findings of one Tracer, and judges each by what was missed until then."""

    def __init__(self, programs: Programs, plan: Plan, verdicts: Verdicts) -> None:
        self._verdicts, self._plan = verdicts, plan
        self._ring = programs.ring("findings")
        self._seen = ArrayMap(programs.map_fd("findings_seen"), ID)
        self._missed = Missed()
        self._dropped = 0
        """Findings that were counted, and that the ring had no room for."""

    def judge(
        self, losses: Callable[[int], Losses], moves: Callable[[], Mapping[int, int]], sight: Sight
    ) -> Judged:
        """Judges what was found since the last time.

        The findings are taken first and the losses read after them: so an event that was missed, and that
        explains one of the findings, is among the losses.

        Args:
            losses: Reads the losses; it is given how many findings there was no room for.
            moves: Reads by process id when it last changed cgroups (ns, CLOCK_MONOTONIC).
            sight: How far the programs' events can be relied upon.

        Returns:
            All that was found since the start.
        """
        found = self._take()
        verdicts = self._verdicts
        lost = losses(self._dropped + verdicts.ledger.unkept)
        count = lost.page_events_missed
        if self._plan.tier is not Tier.TRACEPOINT:
            count += lost.swept  # its record may by then have been that of a later charge
        self._missed.note(kernel_seconds(), count)
        verdicts.take(found, moves(), self._missed, sight)
        ledger = verdicts.ledger
        return Judged(lost, ledger.mismatches, ledger.by_cgroup(), verdicts.doubtful, verdicts.exempted())

    def may_have_missed(self, since_ns: int) -> bool:
        """Returns whether the uncharge of a page can have been missed.

        Args:
            since_ns: When the page was charged (ns, CLOCK_MONOTONIC).
        """
        if self._plan.tier is Tier.TRACEPOINT or not self._plan.misses_are_counted:
            return True
        return self._missed.between(since_ns / 1e9, kernel_seconds()) > 0

    def forget(self, cgroup: int) -> None:
        """Forgets the cgroup with this id, which is gone and holds nothing."""
        self._verdicts.forget(cgroup)

    def _take(self) -> list[Records]:
        """Takes the findings out of the ring, and counts those that it had no room for."""
        # The count before the ring: what is found in between is in the ring, and not yet dropped.
        seen = sum(int(self._seen[one.number][0]) for one in MismatchClass)
        found = [np.frombuffer(data, FINDING, 1)[0] for data in self._ring()]
        self._dropped = max(self._dropped, seen - self._verdicts.received - len(found))
        return found
