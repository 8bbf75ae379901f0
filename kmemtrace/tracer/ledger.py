"""Makes the cgroups of a Snapshot of what was read of the maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.model.enums import CgroupState, MismatchClass
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.snapshot import Cgroup, Gone, OldPages
from kmemtrace.tracer.counts import Counts
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.reading import Reading, SiteRead, failures_by_cgroup, oldest_by_cgroup, sites_by_cgroup
from kmemtrace.tracer.sees import Sees
from kmemtrace.tracer.stacks import BEFORE_START, Stacks


@dataclass(frozen=True, slots=True)
class Ended:
    """A cgroup that is shown for the last time, and its keys in the maps by stack and by errno."""

    cgroup: int
    stacks: list[int]
    errors: list[int]


@dataclass(frozen=True, slots=True)
class View:
    """The cgroups as of one reading."""

    cgroups: tuple[Cgroup, ...]
    """Cgroups that have a row, those that hold most first."""
    gone: Gone
    """Sums of those that have none any more, as they were gone in the View before."""
    ended: list[Ended]
    """Cgroups that were removed and hold nothing: they are to be taken out of the maps."""


@dataclass(slots=True)
class _Kept:
    """The records of one cgroup, and what follows from them alone.

    It is kept from one reading to the next, as most cgroups do nothing between two: to make these anew for
    10,000 cgroups took half of the time of reading them.
    """

    totals: bytes
    sites: list[SiteRead]
    errors: dict[int, int]
    told: Cgroup
    """The cgroup as it was told last. What can change while the records do not is its name, state, oldest
    page, heir, mismatches and objects."""


class Ledger:
    """Remembers between snapshots only what the maps cannot tell: names, and sums of what is gone."""

    def __init__(self, hierarchy: MemoryHierarchy, paths: CgroupPaths, stacks: Stacks, sees: Sees) -> None:
        self._paths, self._stacks = paths, stacks
        self._counts = Counts(hierarchy, stacks, sees)
        self._gone = Gone()
        self._heirs: dict[int, int] = {}
        self._forgotten: list[int] = []
        self._kept: dict[int, _Kept] = {}

    def update(
        self,
        reading: Reading,
        heirs: Mapping[int, int],
        mismatches: Mapping[int, Mapping[MismatchClass, int]],
        objects: Mapping[int, tuple[ObjectSite, ...]] | None = None,
        began: float = 0.0,
    ) -> View:
        """Returns the cgroups as of a reading; one that was removed and holds nothing is in one last View.

        Args:
            reading: The maps as they were read.
            heirs: By cgroup id, which cgroup its pages count to now, as found since the last time.
            mismatches: By cgroup id and class, how many charges broke the promise.
            objects: Slab objects by cgroup id; None where they are not followed.
            began: When the counting began (kernel_seconds()).
        """
        self._forget()
        removed = self._remember(reading.lives)
        self._heirs |= heirs
        sites, failures = sites_by_cgroup(reading.sites), failures_by_cgroup(reading.failures)
        oldest = oldest_by_cgroup(reading.charges)
        gone, ended, cgroups = self._gone, [], []
        ids, records = reading.cgroups
        raw, size = records.tobytes(), records.itemsize
        for at, key in enumerate(ids.tolist()):
            mine, errors = sites.get(key, []), failures.get(key, {})
            kept = self._kept.get(key)
            totals = raw[at * size : (at + 1) * size]
            if kept is None or (kept.totals, kept.sites, kept.errors) != (totals, mine, errors):
                told = self._counts.cgroup(key, records[at], mine, errors)
                kept = self._kept[key] = _Kept(totals, mine, errors, told)
            since = min(oldest[key] / 1e9, reading.clock) - began if key in oldest else None
            followed = None if objects is None else objects.get(key, ())
            found = mismatches.get(key, {})
            cgroup = self._as_of_now(kept.told, since, found, followed, removed=key in removed)
            kept.told = cgroup
            cgroups.append(cgroup)
            if cgroup.state is CgroupState.GONE:
                ended.append(Ended(key, [stack for stack, *_ in mine], list(errors)))
                self._gone = _add(self._gone, cgroup)
                self._forgotten.append(key)
                self._heirs.pop(key, None)
                del self._kept[key]
        cgroups.sort(key=lambda c: (-c.held_pages, -c.charged_pages, c.path))
        ended += self._never_charged(reading, removed)
        return View(tuple(cgroups), gone, ended)

    def old(self, reading: Reading, cgroups: Iterable[Cgroup], older_than: float) -> list[OldPages]:
        """Returns the pages charged longer ago than so many seconds, but since the start.

        Args:
            reading: The maps as they were read.
            cgroups: The cgroups made of that reading.
            older_than: Least age in seconds.

        Returns:
            Sums by cgroup and stack, those of removed cgroups first, then most pages first.
        """
        known = {cgroup.key.id: cgroup for cgroup in cgroups}
        sums: dict[tuple[int, int], list[int]] = {}
        charges = reading.charges
        old = charges["time"] < max(0, int((reading.clock - older_than) * 1e9))
        aged = charges[old & ~np.isin(charges["stack"], list(BEFORE_START))]
        for cgroup_id, stack, order, charged in zip(
            *(aged[name].tolist() for name in ("cgroup", "stack", "order", "time")), strict=True
        ):
            found = sums.setdefault((cgroup_id, stack), [0, charged])
            found[0] += 1 << order
            found[1] = min(found[1], charged)
        found_old = [
            self._old(known[cgroup_id], stack, pages, reading.clock - oldest / 1e9)
            for (cgroup_id, stack), (pages, oldest) in sums.items()
            if cgroup_id in known
        ]
        return sorted(found_old, key=lambda o: (o.state is not CgroupState.DEAD, -o.pages, o.path, o.symbol))

    def _old(self, cgroup: Cgroup, stack_id: int, pages: int, oldest: float) -> OldPages:
        stack = self._stacks[stack_id]
        return OldPages(
            cgroup.key, cgroup.path, cgroup.state, stack.kind, stack.symbol, stack.frames, pages, oldest
        )

    def _forget(self) -> None:
        """Forgets what was gone, one update late: a finding of the same moment still has to be named."""
        for cgroup_id in self._forgotten:
            self._paths.forget(cgroup_id)
        self._forgotten = []

    def _remember(self, lives: tuple[Records, Records]) -> set[int]:
        """Keeps the paths that the kernel gave of the removed cgroups, and returns the ids of those."""
        ids, records = lives
        for cgroup_id, life in zip(ids.tolist(), records, strict=True):
            # What lies behind the NUL is a longer path's: the buffer is used again and again.
            path = bytes(life["path"]).partition(b"\0")[0].decode(errors="backslashreplace")
            if path:
                self._paths.remember(cgroup_id, path)
        return set(ids.tolist())

    def _never_charged(self, reading: Reading, removed: set[int]) -> list[Ended]:
        """Returns the removed cgroups of which there is a name but no sums.

        They were never charged, or their sums were taken out of the map while they were being removed.
        """
        idle = removed - {int(i) for i in reading.cgroups[0]}
        self._forgotten += idle
        return [Ended(cgroup_id, [], []) for cgroup_id in idle]

    def _as_of_now(
        self,
        told: Cgroup,
        oldest_at: float | None,
        mismatches: Mapping[MismatchClass, int],
        objects: tuple[ObjectSite, ...] | None,
        *,
        removed: bool,
    ) -> Cgroup:
        """Returns the cgroup with its name, what became of it, and what else its records do not tell.

        `oldest_at`: when its oldest record was made.
        """
        number, held = told.key.id, told.held_pages
        found = self._paths.resolve(number)
        path = found.path or f"(id {number})"
        dead = removed or not found.alive
        heir = self._heirs.get(number) if dead else None
        holds_objects = any(one.held_objects > 0 for one in objects or ())
        after = CgroupState.DEAD if held > 0 or holds_objects else CgroupState.GONE
        state = after if dead else CgroupState.ONLINE
        oldest = oldest_at if held > 0 else None
        reparented_to = self._paths.resolve(heir).path if heir else None
        now = (path, state, oldest, reparented_to, mismatches, objects)
        known = (
            told.path,
            told.state,
            told.oldest_at,
            told.reparented_to,
            told.mismatches,
            told.objects,
        )
        if now == known:
            return told
        return replace(
            told,
            path=path,
            label=label(path),
            state=state,
            oldest_at=oldest,
            reparented_to=reparented_to,
            mismatches=dict(mismatches),
            objects=objects,
        )


def _add(gone: Gone, cgroup: Cgroup) -> Gone:
    return Gone(
        gone.cgroups + 1,
        gone.charged_pages + cgroup.charged_pages,
        gone.uncharged_pages + cgroup.uncharged_pages,
        gone.failed_charges + cgroup.failed_charges,
        gone.lost_pages if cgroup.lost_pages is None else (gone.lost_pages or 0) + cgroup.lost_pages,
        gone.preexisting_pages + cgroup.preexisting_pages,
    )
