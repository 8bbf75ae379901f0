"""Counts what the programs of a tracer missed."""

from collections.abc import Mapping

from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Loss
from kmemtrace.model.losses import Losses
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.tables import Tables

_BY_MAP = {
    "pages": Loss.PAGES_FULL,
    "cgroups": Loss.CGROUPS_FULL,
    "sites": Loss.SITES_FULL,
    "lives": Loss.LIVES_FULL,
    "stalled": Loss.STALLED_FULL,
    "failures": Loss.FAILURES_FULL,
    "batches": Loss.BATCH_FULL,
    "departures": Loss.DEPARTURES_FULL,
}
_OF_OBJECTS = {"objects": Loss.OBJECTS_FULL, "object_sites": Loss.OBJECT_SITES_FULL}


class LossCount:
    """Counts what attached programs missed, from begin() on."""

    def __init__(self, programs: Programs, plan: Plan, tables: Tables) -> None:
        self._programs, self._plan, self._tables = programs, plan, tables
        self._full = _BY_MAP | (_OF_OBJECTS if plan.follows_objects else {})
        self._unpaired_at_start = 0
        self.skips_uncounted = False
        """Whether a probe may be skipped in an interrupt without the kernel's telling."""

    def begin(self) -> None:
        """Begins to count, once all is attached.

        The begin of a charge that was under way by then was not missed, so the ends of those do not count.
        """
        self._unpaired_at_start = self._tables.losses()[Loss.UNPAIRED]
        self.skips_uncounted = any(self._programs.skipped(name) is None for name in self._plan.programs)

    def read(self, ring_drops: int) -> Losses:
        """Reads what was missed until now.

        Args:
            ring_drops: How many findings were counted that there was no room for, which the judge knows.
        """
        lost, checked = self._tables.losses(), self._tables.checked_stacks()
        return Losses(
            recursion_misses=self._misses(),
            map_full={name: lost[loss] for name, loss in self._full.items()},
            unpaired=lost[Loss.UNPAIRED] - self._unpaired_at_start,
            pages_busy=lost[Loss.PAGES_BUSY],
            ring_drops=ring_drops,
            healed=lost[Loss.HEALED],
            swept=lost[Loss.SWEPT],
            unmatched_frees=lost[Loss.UNMATCHED_FREE],
            unknown_stacks=lost[Loss.STACK_UNKNOWN],
            checked_stacks=checked,
            wrong_stacks=None if checked is None else lost[Loss.WALK_WRONG],
            mended_objects=lost[Loss.OBJECTS_MENDED] if self._plan.follows_objects else None,
        )

    def infos(self) -> Mapping[str, ProgramInfo]:
        """Returns what the kernel tells of each program that events run, by name."""
        return {name: program_info(self._programs.fd(name)) for name in self._plan.programs}

    def _misses(self) -> dict[str, int] | None:
        """Returns by program how often it or its kprobe was skipped; None where the kernel does not tell."""
        if not self._plan.misses_are_counted:
            return None
        misses = {n: i.recursion_misses for n, i in self.infos().items()}
        counted = {n: m + (self._programs.skipped(n) or 0) for n, m in misses.items() if m is not None}
        return counted if len(counted) == len(misses) else None
