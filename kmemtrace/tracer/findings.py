"""Keeps the one ledger of what broke the promise: mismatches, folded where they are alike, and by cgroup."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.mismatch import Mismatch

MOST_KINDS = 512
"""Mismatches that are kept apart; of further kinds only the count is kept."""
_ORDER = {Confidence.CERTAIN: 0, Confidence.SUSPECT: 1}


@dataclass(slots=True)
class _Alike:
    """Mismatches that are counted as one."""

    told: Mismatch
    by_cgroup: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """How many of them are of each cgroup: one may have the path that another one had."""


class Findings:
    """Keeps mismatches; what their list shows, and the counts of cgroups, follow from the same entries."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], _Alike] = {}
        self.unkept = 0
        """Mismatches of more kinds than are kept: they are in no list and no count but this one."""

    def add(self, found: Mismatch, cgroup: int) -> None:
        """Enters a mismatch, beside those that it is like.

        Args:
            found: The mismatch.
            cgroup: Id of the cgroup that it is counted for.
        """
        alike = self._kinds.get(found.kind)
        if alike is None and len(self._kinds) >= MOST_KINDS:
            self.unkept += 1
            return
        if alike is None:
            alike = self._kinds[found.kind] = _Alike(found)
        else:
            alike.told = _folded(alike.told, found)
        alike.by_cgroup[cgroup] += 1

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The mismatches, certain ones first, and of these the last found first."""
        told = (alike.told for alike in self._kinds.values())
        return tuple(sorted(told, key=lambda m: (_ORDER[m.confidence], -m.time)))

    def by_cgroup(self) -> Mapping[int, Mapping[MismatchClass, int]]:
        """Returns how many mismatches of each class there are, by the id of the cgroup."""
        found: dict[int, dict[MismatchClass, int]] = defaultdict(lambda: defaultdict(int))
        for alike in self._kinds.values():
            for cgroup, count in alike.by_cgroup.items():
                found[cgroup][alike.told.mismatch_class] += count
        return found

    def forget(self, cgroup: int) -> None:
        """Counts nothing more for the cgroup with this id, which has no row; its mismatches stay listed."""
        for alike in self._kinds.values():
            alike.by_cgroup.pop(cgroup, None)


def _folded(known: Mismatch, found: Mismatch) -> Mismatch:
    """Adds a mismatch to those that it is like, whose evidence is then that of the last one."""
    return replace(
        found,
        count=known.count + 1,
        first_time=known.first_time,
        lost_pages=known.lost_pages + found.lost_pages,
        taken_pages=known.taken_pages + found.taken_pages,
    )
