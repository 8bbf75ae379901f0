"""Says which cgroups have series of their own, and sums what never goes backwards whoever comes and goes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice, takewhile
from typing import NamedTuple

from kmemtrace.exporter.choice import Turns
from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.together import Holding, Rest, Together
from kmemtrace.exporter.whole import Adding, Whole
from kmemtrace.model.changes import changes
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, Snapshot

OTHER = "(other)"
MOST_CGROUPS = 1000
MOST_BYTES = 16 << 20
_STAYS = 2
"""How many times more another cgroup has to be worth showing until one that has series loses them: series
that come and go at each scrape would cost the server more than they tell."""


class Sums(NamedTuple):
    """What is counted of one series.

    Each field only grows, and is the metric of its name. What the tier cannot see stays 0 here and has no
    metric.
    """

    charged_pages: float = 0
    uncharged_pages: float = 0
    failed_charges: float = 0
    reclaim_stalls: float = 0
    reclaim_stall_seconds: float = 0.0
    charges: float = 0
    """Charges whose time was taken."""
    charge_seconds: float = 0.0
    """The time that those took, in seconds."""

    def plus(self, other: "Sums") -> "Sums":
        if other is NOTHING:  # as most are: little moves between two scrapes
            return self
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Sums") -> "Sums":
        return Sums(*(a - b for a, b in zip(self, other, strict=True)))


NOTHING = Sums()


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one cgroup, or of all the others."""

    cgroup: str
    """The value of the label `cgroup`."""
    path: str
    """Path of one of the cgroups that have this label; "" for those of all the others."""
    sums: Sums
    holding: Holding

    @property
    def held_pages(self) -> Mapping[CgroupState, int]:
        return self.holding.pages

    @property
    def memory(self) -> Mapping[str, int]:
        return self.holding.memory


@dataclass(frozen=True, slots=True)
class Counted:
    """What a scrape tells of cgroups."""

    series: tuple[Series, ...]
    """Series of cgroups of their own by path, (other) last, if there ever were others."""
    latency: Mapping[str, Histogram]
    """Histograms of the whole machine since the start, by "charge" and "lifetime"; absent where the tier
    cannot measure it."""
    whole: Whole = field(default_factory=Whole)


class Selection:
    """Counts what changed from one Snapshot to the next, and remembers what was shown and counted.

    It has to see every Snapshot of its tracer: a removed cgroup is in one last of them. A cgroup that is the
    same object as in the Snapshot before costs nothing but to notice that, and its series stay the same.
    """

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        """Remembers nothing yet.

        Args:
            most: Most cgroups that have series of their own.
            most_bytes: Most bytes that these take of a scrape.
        """
        self._most, self._most_bytes = most, most_bytes
        self._cgroups: tuple[Cgroup, ...] = ()
        """Those of the Snapshot before."""
        self._together: dict[str, Together] = {}
        """The same by their label."""
        self._labels: dict[str, str] = {}
        """Labels by path, of those that may have series."""
        self._turns = Turns()
        self._cost = 0
        """Bytes that their series would take."""
        self._series: dict[str, Series] = {}
        """Those that were shown, by label."""
        self._rest = Rest()
        self._whole = Adding()
        self._other: Sums | None = None
        self._latency: dict[str, Histogram] = {}

    def update(self, snapshot: Snapshot) -> Counted:
        """Counts what has come with a Snapshot, and chooses the series.

        A removed cgroup and one made anew under its name share series, but for the state of what they hold.

        Args:
            snapshot: The tracer's next Snapshot.
        """
        left, come = changes(self._cgroups, snapshot.cgroups)
        self._cgroups = snapshot.cgroups
        self._whole.add(left, -1)
        self._whole.add(come, 1)
        grown = self._grown(left, come)
        moved = self._move(left, come)
        for one in moved:
            self._rank(one, snapshot.page_size)
        before = self._series
        self._series = {
            label: self._told(label, grown.get(label, NOTHING)) for label in sorted(self._choose())
        }
        flipped = (before.keys() ^ self._series.keys()) & self._together.keys()
        turned = [self._together[label] for label in flipped]
        for one in turned:
            self._rank(one, snapshot.page_size)
        for one in (*moved, *turned):
            is_other = one.cgroups and one.label not in self._series
            self._rest.put(one.label, one.holding if is_other else None)
        for label in grown.keys() - self._series.keys():
            self._other = (self._other or NOTHING).plus(grown[label])
        if len(self._together) > len(self._series):
            self._other = self._other or NOTHING
        others = [] if self._other is None else [Series(OTHER, "", self._other, self._rest.holding)]
        return Counted((*self._series.values(), *others), dict(self._latency), self._whole.whole)

    def _grown(self, left: Iterable[Cgroup], come: Iterable[Cgroup]) -> dict[str, Sums]:
        """Returns by label what has come to these; their latencies go to the machine's."""
        # One that has ended is out of the maps: under its key the kernel would count from nothing.
        before = {cgroup.key: cgroup for cgroup in left if cgroup.state is not CgroupState.GONE}
        grown: dict[str, Sums] = {}
        for cgroup in come:
            old, more = before.get(cgroup.key), sums_of(cgroup)
            if old is not None:
                more = more.minus(sums_of(old))
            if more != NOTHING:
                label = label_of(cgroup.path)
                grown[label] = grown.get(label, NOTHING).plus(more)
            for name, histogram in cgroup.latency.items():
                # None of a cgroup that only the census had known.
                earlier = None if old is None else old.latency.get(name)
                if histogram != earlier:
                    added = histogram if earlier is None else histogram - earlier
                    self._latency[name] = self._latency.get(name, Histogram.empty()) + added
        return grown

    def _move(self, left: Iterable[Cgroup], come: Iterable[Cgroup]) -> list[Together]:
        """Takes cgroups out and others in, and returns those of their labels, some of them without any."""
        moved: dict[str, Together] = {}
        for cgroup in left:
            label = label_of(cgroup.path)
            moved[label] = one = self._together[label]
            one.cgroups.pop(cgroup.key, None)
        for cgroup in come:
            label = label_of(cgroup.path)
            known = self._together.get(label)
            moved[label] = one = Together(label, cgroup.path) if known is None else known
            self._together[label] = one
            one.cgroups[cgroup.key] = cgroup
        for one in moved.values():
            one.add_up()
            if not one.cgroups:
                del self._together[one.label]
        return list(moved.values())

    def _rank(self, one: Together, page_size: int) -> None:
        """Says what cgroups are worth showing.

        One that is gone is told for the last time if it had series, and gets none if it had not.
        """
        is_shown = one.label in self._series
        may = one.cgroups and (is_shown or not one.is_gone)
        self._cost += one.cost * (bool(may) - (one.path in self._labels))
        self._turns.put(one.path, one.worth(page_size) * (_STAYS if is_shown else 1) if may else 0)
        if may:
            self._labels[one.path] = one.label
        else:
            self._labels.pop(one.path, None)

    def _choose(self) -> Iterable[str]:
        """Returns the labels of the cgroups that hold most."""
        if len(self._labels) <= self._most and self._cost <= self._most_bytes:
            return self._labels.values()
        labels = [self._labels[path] for path in islice(self._turns, self._most)]
        ends = accumulate(self._together[label].cost for label in labels)
        room = sum(1 for _ in takewhile(lambda end: end <= self._most_bytes, ends))
        return labels[:room]

    def _told(self, label: str, grown: Sums) -> Series:
        """Returns the series of a label: those of before, where nothing changed."""
        one, before = self._together[label], self._series.get(label)
        if before is not None and grown is NOTHING and before.holding is one.holding:
            return before
        return Series(label, one.path, (NOTHING if before is None else before.sums).plus(grown), one.holding)


def sums_of(cgroup: Cgroup) -> Sums:
    """Returns what a Snapshot counts of a cgroup, since the tracer started."""
    charge = cgroup.latency.get("charge")
    return Sums(
        charged_pages=cgroup.charged_pages,
        uncharged_pages=cgroup.uncharged_pages,
        failed_charges=cgroup.failed_charges,
        reclaim_stalls=cgroup.reclaim_stalls or 0,
        reclaim_stall_seconds=cgroup.reclaim_stall_seconds or 0.0,
        charges=0 if charge is None else charge.count,
        charge_seconds=0.0 if charge is None else charge.sum_ns / 1e9,
    )
