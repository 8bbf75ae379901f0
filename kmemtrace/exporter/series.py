"""Says which cgroups have series of their own, and sums what never goes backwards whoever comes and goes."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import NamedTuple

from kmemtrace.cgroups.labels import names
from kmemtrace.exporter.choice import by_turns
from kmemtrace.exporter.label import label_of, size
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.metrics import Metric
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot

OTHER = "(other)"
MOST_CGROUPS = 1000
MOST_BYTES = 16 << 20
_FURTHER = 5
"""A metric has one series of each cgroup, but for one more state and four more parts."""
_LINES, _LINE_BYTES = sum("cgroup" in metric.labels for metric in Metric) + _FURTHER, 100
"""How many lines one cgroup's series take at most, as many as metrics have its label, and how many bytes a
line takes beside the value of the label: its name, state and figure."""
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
    held_pages: Mapping[CgroupState, int]
    """Pages held by the state of the cgroup that holds them; a state that nobody is in is left out."""
    memory: Mapping[str, int]
    """Bytes by the parts of the cgroup's account, with "kernel" and "unexplained"; what was not read is left
    out."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a scrape tells of cgroups."""

    series: tuple[Series, ...]
    """Series of cgroups of their own by path, (other) last, if there ever were others."""
    latency: Mapping[str, Histogram]
    """Histograms of the whole machine since the start, by "charge" and "lifetime"; absent where the tier
    cannot measure it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A cgroup as it was in the Snapshot before."""

    sums: Sums
    latency: Mapping[str, Histogram]


class Selection:
    """Remembers what was shown and counted from one Snapshot to the next.

    It has to see every Snapshot of its tracer: a removed cgroup is in one last of them.
    """

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        """Remembers nothing yet.

        Args:
            most: Most cgroups that have series of their own.
            most_bytes: Most bytes that these take of a scrape.
        """
        self._most, self._most_bytes = most, most_bytes
        self._labels: dict[str, str] = {}
        """Labels by path, of the cgroups in the Snapshot before."""
        self._before: dict[CgroupKey, _Known] = {}
        self._shown: dict[str, Sums] = {}
        self._other: Sums | None = None
        self._latency: dict[str, Histogram] = {}

    def update(self, snapshot: Snapshot) -> Counted:
        """Counts what has come with a Snapshot, and chooses the series.

        A removed cgroup and one made anew under its name share series, but for the state of what they hold.

        Args:
            snapshot: The tracer's next Snapshot.
        """
        self._labels = {c.path: self._labels.get(c.path) or label_of(c.path) for c in snapshot.cgroups}
        by_label: dict[str, list[Cgroup]] = defaultdict(list)
        for cgroup in snapshot.cgroups:
            by_label[self._labels[cgroup.path]].append(cgroup)
        known = {cgroup.key: _Known(sums_of(cgroup), cgroup.latency) for cgroup in snapshot.cgroups}
        grown = {label: self._grown(cgroups, known) for label, cgroups in by_label.items()}
        chosen = self._choose(by_label, snapshot.page_size)
        self._shown = {label: self._shown.get(label, NOTHING).plus(grown[label]) for label in chosen}
        others = [label for label in by_label if label not in self._shown]
        for label in others:
            self._other = (self._other or NOTHING).plus(grown[label])
        # One that has ended is out of the maps: under its key the kernel would count from nothing.
        self._before = {c.key: known[c.key] for c in snapshot.cgroups if c.state is not CgroupState.GONE}
        series = [
            Series(
                label,
                by_label[label][0].path,
                self._shown[label],
                _held(by_label[label]),
                _memory(by_label[label]),
            )
            for label in sorted(chosen)
        ]
        if self._other is not None:
            rest = [cgroup for label in others for cgroup in by_label[label]]
            series.append(Series(OTHER, "", self._other, _held(rest), _memory(rest)))
        return Counted(tuple(series), dict(self._latency))

    def _grown(self, cgroups: Iterable[Cgroup], known: Mapping[CgroupKey, _Known]) -> Sums:
        """Returns what has come to these since the Snapshot before; their latencies go to the machine's."""
        grown = NOTHING
        for cgroup in cgroups:
            before, now = self._before.get(cgroup.key), known[cgroup.key]
            if before == now:
                continue
            grown = grown.plus(now.sums if before is None else now.sums.minus(before.sums))
            for name, histogram in cgroup.latency.items():
                # None of a cgroup that only the census had known.
                earlier = None if before is None else before.latency.get(name)
                more = histogram if earlier is None else histogram - earlier
                self._latency[name] = self._latency.get(name, Histogram.empty()) + more
        return grown

    def _choose(self, by_label: Mapping[str, list[Cgroup]], page_size: int) -> list[str]:
        """Returns the labels of the cgroups that hold most.

        What was charged does not count: to charge and uncharge for ever takes but one page. One that is gone
        is told for the last time if it had series, and gets none if it had not.
        """
        worth, path_of = dict[str, float](), dict[str, str]()
        for label, cgroups in by_label.items():
            if label in self._shown or any(cgroup.state is not CgroupState.GONE for cgroup in cgroups):
                held = 1 + sum(_holds(cgroup, page_size) for cgroup in cgroups)
                path_of[cgroups[0].path] = label
                worth[cgroups[0].path] = held * (_STAYS if label in self._shown else 1)
        cost = {path: bytes_of(label, path) for path, label in path_of.items()}
        fits = len(worth) <= self._most and sum(cost.values()) <= self._most_bytes
        order = list(worth) if fits else by_turns(worth)[: self._most]
        ends = takewhile(lambda end: end <= self._most_bytes, accumulate(cost[path] for path in order))
        return [path_of[path] for path, _ in zip(order, ends, strict=False)]


@functools.lru_cache(maxsize=1 << 14)
def bytes_of(label: str, path: str) -> int:
    """Returns the bytes that the series of one cgroup take at most in the text formats.

    Args:
        label: The value of the label `cgroup`.
        path: The cgroup's path, which tells its pod, container and unit.
    """
    who = names(path)
    return _LINES * (_LINE_BYTES + size(label)) + sum(map(size, (who.pod, who.container, who.unit)))


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


def _held(cgroups: Iterable[Cgroup]) -> dict[CgroupState, int]:
    """Returns the held pages by state; a state that nobody is in is left out."""
    held: dict[CgroupState, int] = defaultdict(int)
    for cgroup in cgroups:
        if cgroup.state is not CgroupState.GONE:
            held[cgroup.state] += cgroup.held_pages
    return dict(held)


def _holds(cgroup: Cgroup, page_size: int) -> int:
    """Returns the bytes that the census found, or what was charged since the start where that is more."""
    known = 0 if cgroup.account is None else cgroup.account.explained_bytes
    return max(page_size * cgroup.held_pages, known)


def _memory(cgroups: Iterable[Cgroup]) -> dict[str, int]:
    """Adds up the cgroups' accounts, in bytes by part; a cgroup without an account adds nothing."""
    found: dict[str, int] = defaultdict(int)
    for account in (cgroup.account for cgroup in cgroups):
        if account is None:
            continue
        for part, amount in account.parts.items():
            found[part] += amount
        if account.kernel_bytes is not None and account.unexplained_bytes is not None:
            found["kernel"] += account.kernel_bytes
            found["unexplained"] += account.unexplained_bytes
    return dict(found)
