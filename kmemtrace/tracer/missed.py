"""Remembers when events were missed, which could explain a finding away."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

_MOST_CHANGES = 1 << 12


@dataclass(slots=True)
class Missed:
    """The count of missed events as it was read, time by time; only its changes are kept."""

    _begins: list[float] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    """Counts: between _begins[i] and _ends[i] each reading gave _counts[i]."""

    def note(self, time: float, count: int) -> None:
        """Notes a reading of the count; times only grow, and so does the count."""
        if self._counts and self._counts[-1] == count:
            self._ends[-1] = time
            return
        self._begins.append(time)
        self._ends.append(time)
        self._counts.append(count)
        if len(self._counts) > _MOST_CHANGES:
            del self._begins[0], self._ends[0], self._counts[0]

    def between(self, begin: float, end: float) -> int:
        """Returns the most events that can have been missed from `begin` to `end`.

        It is told by the last reading before and the first one after. Without one before, it is all that are
        known of.
        """
        if not self._counts:
            return 0
        before = bisect_right(self._begins, begin) - 1
        after = min(bisect_left(self._ends, end), len(self._counts) - 1)
        return self._counts[after] - (self._counts[before] if before >= 0 else 0)
