"""Makes the cgroups of a Snapshot of what was read of the maps."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np

from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths, Resolved
from kmemtrace.model.enums import CgroupState, MismatchClass
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.ordered import exchanged
from kmemtrace.model.snapshot import Cgroup, Gone, OldPages
from kmemtrace.tracer.changed import Remembered
from kmemtrace.tracer.counts import Counts
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.reading import (
    Reading,
    failures_by_cgroup,
    of_cgroups,
    oldest_by_cgroup,
    sites_by_cgroup,
)
from kmemtrace.tracer.sees import Sees
from kmemtrace.tracer.stacks import BEFORE_START, Stacks


@dataclass(frozen=True, slots=True)
class Ended:
    """A cgroup that is shown for the last time, and which errors its failed charges were refused with."""

    cgroup: int
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


@dataclass(frozen=True, slots=True)
class _Beside:
    """What cgroups are made of beside their records in the maps, by id."""

    removed: AbstractSet[int] = frozenset()
    """Those that the kernel was seen to remove."""
    heirs: Mapping[int, int] = field(default_factory=dict)
    mismatches: Mapping[int, Mapping[MismatchClass, int]] = field(default_factory=dict)
    objects: Mapping[int, tuple[ObjectSite, ...]] | None = None

    def changed(self, before: "_Beside") -> set[int]:
        """Returns of which cgroups something was another one before."""
        found = set(self.removed ^ before.removed)
        found |= _differing(self.heirs, before.heirs)
        found |= _differing(self.mismatches, before.mismatches)
        return found | _differing(self.objects or {}, before.objects or {})


_Place = tuple[int, int, str, int, Cgroup]
"""A cgroup, after all that it is ordered by; its id is another one than that of any other."""
_order, _cgroup = itemgetter(0, 1, 2, 3), itemgetter(4)


class Ledger:
    """Makes a cgroup anew where something of it changed; each of the others is the same object as before.

    What follows from a cgroup, later rooms can keep for as long as it is the same.
    """

    def __init__(self, hierarchy: MemoryHierarchy, paths: CgroupPaths, stacks: Stacks, sees: Sees) -> None:
        self._paths, self._stacks = paths, stacks
        self._counts = Counts(hierarchy, stacks, sees)
        self._gone = Gone()
        self._forgotten: list[int] = []
        self._maps = (Remembered(), Remembered(), Remembered(), Remembered())
        self._beside = _Beside()
        self._places: dict[int, _Place] = {}
        """The cgroups as they were told last, by id."""
        self._order: list[_Place] = []
        """The same; what holds most is first."""

    def remember(self, reading: Reading) -> None:
        """Keeps the paths that the kernel gave of the cgroups that were removed, as of a reading."""
        ids, records = reading.lives
        known = self._beside.removed
        for at, cgroup_id in enumerate(ids.tolist()):
            if cgroup_id in known:
                continue
            # What lies behind the NUL is a longer path's: the buffer is used again and again.
            path = bytes(records[at]["path"]).partition(b"\0")[0].decode(errors="backslashreplace")
            if path:
                self._paths.remember(cgroup_id, path)

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
            reading: The maps as they were read, whose removed cgroups remember() knows.
            heirs: By cgroup id, which cgroup its pages count to now, as found since the last time.
            mismatches: By cgroup id and class, how many charges broke the promise; not to be changed later.
            objects: Slab objects by cgroup id; None where they are not followed. Not to be changed later.
            began: When the counting began (kernel_seconds()).
        """
        gone = self._forget()
        removed = frozenset(reading.lives[0].tolist())
        before, self._beside = (
            self._beside,
            _Beside(removed, {**self._beside.heirs, **heirs}, mismatches, objects),
        )
        owners, charged_at = oldest_by_cgroup(reading.charges)
        oldest = owners, np.minimum(charged_at / 1e9, reading.clock) - began
        changed = gone | self._changed(reading, oldest) | self._beside.changed(before) | self._renamed()
        there = set(reading.cgroups[0].tolist())
        changed |= there ^ self._places.keys()
        made, ended = self._made(reading, oldest, changed & there)
        self._replace(made, changed - there)
        view = View(tuple(map(_cgroup, self._order)), self._gone, ended)
        for one in ended:
            self._gone = _add(self._gone, made[one.cgroup])
            self._forgotten.append(one.cgroup)
        # Removed ones that have a name but no sums: they were never charged, or their sums were taken out of
        # the map while they were being removed.
        idle = removed - there
        self._forgotten += idle
        view.ended.extend(Ended(cgroup_id, []) for cgroup_id in idle)
        return view

    def _changed(self, reading: Reading, oldest: tuple[Records, Records]) -> set[int]:
        """Returns the ids of cgroups whose records changed, or came, or went."""
        found: set[int] = set()
        for kept, now in zip(
            self._maps, (reading.cgroups, reading.sites, reading.failures, oldest), strict=True
        ):
            if now is not None:
                found.update(kept.changed(*now).tolist())
        return found

    def _renamed(self) -> set[int]:
        """Returns the ids of cgroups of which the name, the end or the heir's name is another one by now."""
        news, beside = self._paths.news(), self._beside
        changed = {one for one, heir in beside.heirs.items() if heir in news}
        # The name of a removed one stays as it was.
        for number in (news - beside.removed) & self._places.keys():
            told, found = self._places[number][-1], self._paths.resolve(number)
            if _path(found, number) != told.path or found.alive != (told.state is CgroupState.ONLINE):
                changed.add(number)
        return changed

    def _made(
        self, reading: Reading, oldest: tuple[Records, Records], changed: AbstractSet[int]
    ) -> tuple[dict[int, Cgroup], list[Ended]]:
        """Makes cgroups anew.

        Returns:
            Those that are not as they were told last, by id; and those of them that are gone.
        """
        wanted = np.fromiter(changed, "u8", len(changed))
        sites = sites_by_cgroup(of_cgroups(reading.sites, wanted))
        failed = reading.failures
        failures = {} if failed is None else failures_by_cgroup(of_cgroups(failed, wanted))
        since = dict(zip(*(column.tolist() for column in of_cgroups(oldest, wanted)), strict=True))
        made, ended = {}, []
        ids, records = of_cgroups(reading.cgroups, wanted)
        for number, totals in zip(ids.tolist(), records, strict=True):
            mine, errors = sites.get(number, []), failures.get(number, {})
            counted = self._counts.cgroup(number, totals, mine, errors)
            cgroup = self._as_of_now(counted, since.get(number))
            is_gone = cgroup.state is CgroupState.GONE
            told = self._places.get(number)
            if is_gone or told is None or cgroup != told[-1]:
                made[number] = cgroup
            if is_gone:
                ended.append(Ended(number, list(errors)))
        return made, ended

    def _replace(self, made: Mapping[int, Cgroup], left: Iterable[int]) -> None:
        """Puts cgroups into the place of those that they were, and takes others out."""
        out = [self._places.pop(number) for number in (*made, *left) if number in self._places]
        into = {n: (-c.held_pages, -c.charged_pages, c.path, n, c) for n, c in made.items()}
        self._places |= into
        self._order = exchanged(self._order, out, into.values(), _order)

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

    def _forget(self) -> set[int]:
        """Forgets what was gone, and returns it.

        That is one update late: a finding of the same moment still has to be named.
        """
        gone, self._forgotten = set(self._forgotten), []
        for cgroup_id in gone:
            self._paths.forget(cgroup_id)
        heirs = {one: heir for one, heir in self._beside.heirs.items() if one not in gone}
        self._beside = replace(self._beside, heirs=heirs)
        return gone

    def _as_of_now(self, counted: Cgroup, oldest_at: float | None) -> Cgroup:
        """Returns a cgroup with its name, what became of it, and what else its records do not tell.

        `oldest_at`: when its oldest record was made.
        """
        number, held, beside = counted.key.id, counted.held_pages, self._beside
        found = self._paths.resolve(number)
        path = _path(found, number)
        objects = None if beside.objects is None else beside.objects.get(number, ())
        dead = number in beside.removed or not found.alive
        heir = beside.heirs.get(number) if dead else None
        holds_objects = any(one.held_objects > 0 for one in objects or ())
        after = CgroupState.DEAD if held > 0 or holds_objects else CgroupState.GONE
        return replace(
            counted,
            path=path,
            label=label(path),
            state=after if dead else CgroupState.ONLINE,
            oldest_at=oldest_at if held > 0 else None,
            reparented_to=self._paths.resolve(heir).path if heir else None,
            mismatches=dict(beside.mismatches.get(number, {})),
            objects=objects,
        )


def _path(found: Resolved, number: int) -> str:
    return found.path or f"(id {number})"


def _differing(one: Mapping[int, object], other: Mapping[int, object]) -> set[int]:
    """Returns the keys of what the two do not have in common."""
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _add(gone: Gone, cgroup: Cgroup) -> Gone:
    return Gone(
        gone.cgroups + 1,
        gone.charged_pages + cgroup.charged_pages,
        gone.uncharged_pages + cgroup.uncharged_pages,
        gone.failed_charges + cgroup.failed_charges,
        gone.lost_pages if cgroup.lost_pages is None else (gone.lost_pages or 0) + cgroup.lost_pages,
        gone.preexisting_pages + cgroup.preexisting_pages,
    )
