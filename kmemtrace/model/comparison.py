"""Compares what was recorded before and after something: figures with the uncertainty that they have.

How it is computed, and why so, docs/analysis.md tells users.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kmemtrace.model.student import quantile

LEAST_PARTS = 4
"""Parts of a recording below which nothing can be said of the spread."""
OUTSIDE = 0.05
"""How likely it is that of all differences together a single one is called growth by mere chance."""
_SMALL = 0.01
"""Part of the whole against which is measured what had less than that before."""


class RowKind(StrEnum):
    """What a row of a comparison is of."""

    ALL = "all"
    CGROUP = "cgroup"
    SITE = "site"
    CACHE = "cache"


class Measure(StrEnum):
    """What is compared, as `--measure` names it."""

    HELD = "held"
    CHARGED = "charged"
    GROWTH = "growth"
    KEPT = "kept"
    TIME = "time"

    @property
    def unit(self) -> str:
        """In what it is told."""
        return _UNITS[self]


_UNITS = {
    Measure.HELD: "bytes",
    Measure.CHARGED: "bytes a second",
    Measure.GROWTH: "bytes a second",
    Measure.KEPT: "bytes held for each byte charged",
    Measure.TIME: "seconds a charge",
}


class Verdict(StrEnum):
    """What is said of a difference."""

    GREW = "grew"
    SHRANK = "shrank"
    WITHIN = "within"
    """It lies inside its uncertainty: nothing is known of it."""
    UNKNOWN = "unknown"
    """There are too few parts to tell the uncertainty."""


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """What a row is of, on both sides: by name, for ids and addresses differ."""

    kind: RowKind
    name: str


@dataclass(slots=True)
class Amounts:
    """What was counted of a row in one part of a recording; bytes, charges and nanoseconds."""

    charged: int = 0
    growth: int = 0
    """By how much more is held at the end than at the begin."""
    held: int = 0
    """How much is held at the end."""
    charges: int = 0
    """How many charges were timed."""
    charge_ns: int = 0
    """The time that these took."""


@dataclass(slots=True)
class Part:
    """A stretch of a recording."""

    seconds: float = 0.0
    doubtful_bytes: int = 0
    """By how much a count of it may be off, as what was missed and mended meanwhile tells."""
    rows: dict[RowKey, Amounts] = field(default_factory=dict)
    cached_seconds: float | None = None
    """For how long of it a census told of slab caches; None: at its end none did."""

    def of(self, key: RowKey) -> Amounts:
        """Returns a row's amounts, to be added to."""
        return self.rows.setdefault(key, Amounts())


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two recordings."""

    folder: str
    host: str
    kernel: str
    tier: str
    begin: float
    """Seconds since the epoch."""
    missed_events: int
    doubtful_bytes: int
    """By how much what is held at the end may be off."""
    unseen: Mapping[str, str]
    parts: Sequence[Part]

    @property
    def seconds(self) -> float:
        """For how long it was counted."""
        return sum(part.seconds for part in self.parts)

    @property
    def tells_caches(self) -> bool:
        """Whether there is anything in it of slab caches, which a census tells."""
        return any(part.cached_seconds is not None for part in self.parts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of one side."""

    value: float
    spread: float
    """Standard error, by how the parts differ."""
    slack: float
    """By how much, at most, missed events may have changed it."""
    parts: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A measure of a row on both sides, and what that says."""

    key: RowKey
    measure: Measure
    before: Estimate
    after: Estimate
    uncertainty: float | None
    """The change may be as much less or more; None where the parts are too few to tell."""
    base: float
    """What the change is a part of: the value before, or a hundredth of the whole where that is less."""

    @property
    def change(self) -> float:
        return self.after.value - self.before.value

    @property
    def verdict(self) -> Verdict:
        if self.uncertainty is None:
            return Verdict.UNKNOWN
        if abs(self.change) <= self.uncertainty:
            return Verdict.WITHIN
        return Verdict.GREW if self.change > 0 else Verdict.SHRANK

    def grew_over(self, part: float) -> bool:
        """Returns whether it grew for certain by more than a part of what it was."""
        return self.uncertainty is not None and self.change - self.uncertainty > part * self.base

    def could_hide(self, part: float) -> bool:
        """Returns whether it could have grown by that much and nobody could tell."""
        return self.uncertainty is None or self.uncertainty > part * self.base


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from one recording to another."""

    before: Side
    after: Side
    differences: tuple[Difference, ...]
    """Of all rows, those that changed most first, by measure and kind."""
    outside: float
    """How likely each interval alone leaves the truth out."""


def compare(before: Side, after: Side, measures: Iterable[Measure] = Measure) -> Comparison:
    """Compares two recordings, row by row and measure by measure."""
    keys = sorted({key for side in (before, after) for part in side.parts for key in part.rows})
    wanted = list(measures)
    pairs = []
    for key in keys:
        for measure in wanted:
            a, b = estimate(before, key, measure), estimate(after, key, measure)
            if a is not None and b is not None and any((a.value, b.value, a.spread, b.spread)):
                pairs.append((key, measure, a, b))
    outside = OUTSIDE / max(1, len(pairs))
    scales = {measure: _scale(before, measure) for measure in wanted}
    found = [
        Difference(key, measure, a, b, _uncertainty(a, b, outside), max(abs(a.value), scales[measure]))
        for key, measure, a, b in pairs
    ]
    found.sort(key=lambda one: (one.key.kind, one.measure, -abs(one.change), one.key))
    return Comparison(before, after, tuple(found), outside)


def estimate(side: Side, key: RowKey, measure: Measure) -> Estimate | None:
    """Returns a measure of a row on one side; None where it has none there.

    It is a sum divided by another one, part by part: so much in so many seconds, or of so much charged. The
    spread is that of the parts around it.
    """
    of = [_ratio(part, key, measure) for part in side.parts]
    parts = [(above, below) for above, below in of if below > 0]
    total = sum(below for _, below in parts)
    if not parts:
        return None
    value, n = sum(above for above, _ in parts) / total, len(parts)
    squares = math.fsum((above - value * below) ** 2 for above, below in parts)
    spread = math.sqrt(squares * n / (n - 1)) / total if n > 1 else 0.0
    return Estimate(value, spread, _slack(side, key, measure, total), n)


def _ratio(part: Part, key: RowKey, measure: Measure) -> tuple[float, float]:
    row = part.rows.get(key) or Amounts()
    if key.kind is RowKind.CACHE:
        return _ratio_of_cache(part, row, measure)
    if measure is Measure.HELD:
        return row.held, 1.0
    if measure is Measure.TIME:
        return row.charge_ns / 1e9, row.charges
    if measure is Measure.CHARGED:
        return row.charged, part.seconds
    if measure is Measure.GROWTH:
        return row.growth, part.seconds
    return row.growth, row.charged


def _ratio_of_cache(part: Part, row: Amounts, measure: Measure) -> tuple[float, float]:
    """The census tells what is there, and not what came and went; without one, nothing is known."""
    if part.cached_seconds is None or measure in (Measure.TIME, Measure.CHARGED):
        return 0.0, 0.0
    if measure is Measure.HELD:
        return row.held, 1.0
    if measure is Measure.GROWTH or not part.cached_seconds:
        return row.growth, part.cached_seconds
    return row.growth, (part.rows.get(RowKey(RowKind.ALL, "")) or Amounts()).charged


def _slack(side: Side, key: RowKey, measure: Measure, total: float) -> float:
    """Returns what losses may have made of it: all that was missed may have been this row's."""
    if measure is Measure.TIME or key.kind is RowKind.CACHE:
        return 0.0
    if measure is Measure.HELD:
        return side.doubtful_bytes
    return sum(part.doubtful_bytes for part in side.parts) / total


def _scale(side: Side, measure: Measure) -> float:
    """Returns what a small row's change is held against."""
    if measure is Measure.KEPT:
        return _SMALL
    # What grows is held against what is charged: a machine at rest does not grow, by however little.
    of = Measure.CHARGED if measure is Measure.GROWTH else measure
    whole = estimate(side, RowKey(RowKind.ALL, ""), of)
    return 0.0 if whole is None else _SMALL * whole.value


def _uncertainty(a: Estimate, b: Estimate, outside: float) -> float | None:
    """Returns half of Welch's interval, and what losses add to it."""
    if min(a.parts, b.parts) < LEAST_PARTS:
        return None
    of_a, of_b = a.spread**2, b.spread**2
    slack = a.slack + b.slack
    if not of_a + of_b:
        return slack
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (a.parts - 1) + of_b**2 / (b.parts - 1))
    return quantile(outside, max(1, int(freedom))) * math.sqrt(of_a + of_b) + slack
