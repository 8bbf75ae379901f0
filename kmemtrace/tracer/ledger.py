"""From what was read of the maps to the cgroups of a Snapshot."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Gone, Site
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.stacks import Stacks


@dataclass(frozen=True, slots=True)
class Reading:
    """The maps as read for one snapshot: (keys, values) of each."""

    lives: tuple[Records, Records]
    pages: Records
    charges: Records
    sites: tuple[Records, Records]
    cgroups: tuple[Records, Records]


@dataclass(frozen=True, slots=True)
class View:
    cgroups: tuple[Cgroup, ...]
    gone: Gone
    ended: list[tuple[int, list[int]]]
    """Cgroups that are shown for the last time, with their stack ids: removed, holding nothing."""


class Ledger:
    """Remembers between snapshots only what the maps cannot tell: names, and sums of what is gone."""

    def __init__(
        self, hierarchy: MemoryHierarchy, paths: CgroupPaths, stacks: Stacks, *, kernel_total: bool
    ) -> None:
        """`kernel_total`: whether the kernel's own total per cgroup is hooked."""
        self._hierarchy, self._paths, self._stacks = hierarchy, paths, stacks
        self._kernel_total = kernel_total
        self._gone = Gone()

    def update(self, reading: Reading, now: float) -> View:
        """The cgroups as of `now` (seconds, CLOCK_MONOTONIC). A cgroup that was removed and holds
        nothing is in one View, the next counts it in `gone`."""
        removed = self._remember(reading.lives)
        sites = _by_cgroup(reading.sites)
        oldest = _oldest(reading.charges)
        gone, ended, cgroups = self._gone, [], []
        for cgroup_id, totals in zip(*reading.cgroups, strict=True):
            key = int(cgroup_id)
            mine = sites.get(key, [])
            age = now - oldest[key] / 1e9 if key in oldest else None
            cgroup = self._cgroup(key, totals, mine, age, key in removed)
            cgroups.append(cgroup)
            if cgroup.state is CgroupState.DEAD and cgroup.held_pages == 0:
                ended.append((key, [stack for stack, _ in mine]))
                self._gone = _add(self._gone, cgroup)
                self._paths.forget(key)
        cgroups.sort(key=lambda c: (-c.held_pages, -c.charged_pages, c.path))
        ended += self._never_charged(reading, removed)
        return View(tuple(cgroups), gone, ended)

    def _remember(self, lives: tuple[Records, Records]) -> set[int]:
        """Keeps the paths that the kernel gave, and answers which cgroups were removed."""
        removed = set()
        for cgroup_id, life in zip(*lives, strict=True):
            # What lies behind the NUL is a longer path's: the buffer is used again and again.
            path = bytes(life["path"]).partition(b"\0")[0].decode(errors="backslashreplace")
            if path:
                self._paths.remember(int(cgroup_id), path)
            if life["removed"]:
                removed.add(int(cgroup_id))
        return removed

    def _never_charged(self, reading: Reading, removed: set[int]) -> list[tuple[int, list[int]]]:
        """Removed cgroups of which there is nothing but a name."""
        idle = removed.difference(int(i) for i in reading.cgroups[0])
        for cgroup_id in idle:
            self._paths.forget(cgroup_id)
        return [(cgroup_id, []) for cgroup_id in idle]

    def _cgroup(
        self,
        cgroup_id: int,
        totals: Records,
        sites: list[tuple[int, Records]],
        age: float | None,
        removed: bool,
    ) -> Cgroup:
        found = self._paths.resolve(cgroup_id)
        path = found.path or f"(id {cgroup_id})"
        dead = removed or not found.alive
        held = int(totals["charged"]) - int(totals["uncharged"])
        return Cgroup(
            key=CgroupKey(self._hierarchy.hierarchy_id, cgroup_id),
            path=path,
            label=label(path),
            state=CgroupState.DEAD if dead else CgroupState.ONLINE,
            charged_pages=int(totals["charged"]),
            uncharged_pages=int(totals["uncharged"]),
            failed_charges=int(totals["failed"]),
            oldest_seconds=None if age is None or held <= 0 else max(0.0, age),
            sites=tuple(sorted(map(self._site, sites), key=lambda s: (-s.held_pages, -s.charged_pages))),
            latency={"lifetime": _lifetimes(totals)},
            kernel_pages_change=int(totals["kernel"]) if self._kernel_total else None,
        )

    def _site(self, of_cgroup: tuple[int, Records]) -> Site:
        stack_id, site = of_cgroup
        stack = self._stacks[stack_id]
        return Site(
            kind=stack.kind,
            symbol=stack.symbol,
            stack=stack.frames,
            charged_pages=int(site["charged"]),
            uncharged_pages=int(site["uncharged"]),
        )


def _lifetimes(totals: Records) -> Histogram:
    return Histogram(tuple(int(n) for n in totals["lifetime"]), int(totals["lifetime_ns"]))


def _by_cgroup(sites: tuple[Records, Records]) -> dict[int, list[tuple[int, Records]]]:
    mine: dict[int, list[tuple[int, Records]]] = defaultdict(list)
    for key, site in zip(*sites, strict=True):
        mine[int(key["cgroup"])].append((int(key["stack"]), site))
    return mine


def _oldest(charges: Records) -> dict[int, int]:
    """By cgroup, when the oldest of its held pages was charged (ns, CLOCK_MONOTONIC)."""
    if len(charges) == 0:
        return {}
    ids, place = np.unique(charges["cgroup"], return_inverse=True)
    times = np.full(len(ids), np.iinfo("u8").max, "u8")
    np.minimum.at(times, place, charges["time"])
    return dict(zip(ids.tolist(), times.tolist(), strict=True))


def _add(gone: Gone, cgroup: Cgroup) -> Gone:
    return Gone(
        gone.cgroups + 1,
        gone.charged_pages + cgroup.charged_pages,
        gone.uncharged_pages + cgroup.uncharged_pages,
        gone.failed_charges + cgroup.failed_charges,
    )
