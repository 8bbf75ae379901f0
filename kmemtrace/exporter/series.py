"""Which cgroups have series of their own, and sums that never go backwards whoever comes and goes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot

OTHER = "(other)"
_STAYS = 2
"""A cgroup that has series keeps them until another one is so many times more worth showing: series
that come and go at each scrape would cost the server more than they tell."""


class Sums(NamedTuple):
    """What is counted of one series; each only grows. What the tier cannot see stays 0 here and has no
    metric."""

    charged_pages: float = 0
    uncharged_pages: float = 0
    failed_charges: float = 0
    reclaim_stalls: float = 0
    reclaim_stall_seconds: float = 0.0
    charges: float = 0
    """Those whose time was taken."""
    charge_seconds: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        if other is NOTHING:  # as most are: little moves between two scrapes
            return self
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Sums") -> "Sums":
        return Sums(*(a - b for a, b in zip(self, other, strict=True)))


NOTHING = Sums()


@dataclass(frozen=True, slots=True)
class Series:
    """One cgroup's, or those of all the others."""

    cgroup: str
    sums: Sums
    held_pages: Mapping[CgroupState, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a scrape tells of cgroups."""

    series: tuple[Series, ...]
    """Those of their own by path, (other) last, if there ever were others."""
    latency: Mapping[str, Histogram]
    """Of the whole machine since the start, by "charge" and "lifetime"; absent where the tier cannot
    measure it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A cgroup as it was in the Snapshot before."""

    sums: Sums
    latency: Mapping[str, Histogram]


class Selection:
    """Remembers what was shown and counted from one Snapshot to the next.

    It has to see every Snapshot of its tracer: a removed cgroup is in one last of them.
    """

    def __init__(self, most: int) -> None:
        """At most so many cgroups have series of their own."""
        self._most = most
        self._before: dict[CgroupKey, _Known] = {}
        self._shown: dict[str, Sums] = {}
        self._other: Sums | None = None
        self._latency: dict[str, Histogram] = {}

    def update(self, snapshot: Snapshot) -> Counted:
        """A removed cgroup and one made anew under its name share series, but for the state of what they
        hold."""
        by_path: dict[str, list[Cgroup]] = defaultdict(list)
        for cgroup in snapshot.cgroups:
            by_path[cgroup.path].append(cgroup)
        known = {cgroup.key: _Known(sums_of(cgroup), cgroup.latency) for cgroup in snapshot.cgroups}
        grown = {path: self._grown(cgroups, known) for path, cgroups in by_path.items()}
        chosen = self._choose(by_path, grown)
        self._shown = {path: self._shown.get(path, NOTHING).plus(grown[path]) for path in chosen}
        others = [path for path in by_path if path not in self._shown]
        for path in others:
            self._other = (self._other or NOTHING).plus(grown[path])
        # One that has ended is out of the maps: under its key the kernel would count from nothing.
        self._before = {c.key: known[c.key] for c in snapshot.cgroups if c.state is not CgroupState.GONE}
        series = [Series(path, self._shown[path], _held(by_path[path])) for path in sorted(chosen)]
        if self._other is not None:
            rest = [cgroup for path in others for cgroup in by_path[path]]
            series.append(Series(OTHER, self._other, _held(rest)))
        return Counted(tuple(series), dict(self._latency))

    def _grown(self, cgroups: Iterable[Cgroup], known: Mapping[CgroupKey, _Known]) -> Sums:
        """What has come to these since the Snapshot before; their latencies go to the machine's."""
        grown = NOTHING
        for cgroup in cgroups:
            before, now = self._before.get(cgroup.key), known[cgroup.key]
            if before == now:
                continue
            grown = grown.plus(now.sums if before is None else now.sums.minus(before.sums))
            for name, histogram in cgroup.latency.items():
                more = histogram if before is None else histogram - before.latency[name]
                self._latency[name] = self._latency.get(name, Histogram.empty()) + more
        return grown

    def _choose(self, by_path: Mapping[str, list[Cgroup]], grown: Mapping[str, Sums]) -> list[str]:
        """The paths that hold most or were charged most. One that has ended is told for the last time if
        it had series, and gets none if it had not."""

        def worth(path: str) -> float:
            held = sum(cgroup.held_pages for cgroup in by_path[path])
            return (1 + held + grown[path].charged_pages) * (_STAYS if path in self._shown else 1)

        def is_gone(path: str) -> bool:
            return all(cgroup.state is CgroupState.GONE for cgroup in by_path[path])

        eligible = [path for path in by_path if path in self._shown or not is_gone(path)]
        return sorted(eligible, key=lambda path: (-worth(path), path))[: self._most]


def sums_of(cgroup: Cgroup) -> Sums:
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
    """Pages by state; a state that nobody is in is left out."""
    held: dict[CgroupState, int] = defaultdict(int)
    for cgroup in cgroups:
        if cgroup.state is not CgroupState.GONE:
            held[cgroup.state] += cgroup.held_pages
    return dict(held)
