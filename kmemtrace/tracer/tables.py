"""Reads the maps that the programs count in whole, for a Snapshot, and clears them of what is gone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.model.enums import Exemption, Loss
from kmemtrace.model.losses import MapFill
from kmemtrace.model.snapshot import Allocations
from kmemtrace.tracer import maps, structs
from kmemtrace.tracer.capacity import MAX_ORDER, Capacity
from kmemtrace.tracer.constants import map_entries, table_buckets
from kmemtrace.tracer.counts import histogram
from kmemtrace.tracer.ledger import Ended
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.places import Places
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.reading import Reading
from kmemtrace.tracer.records import PageRecords, RecordTable
from kmemtrace.tracer.sees import Sees
from kmemtrace.tracer.stacks import BEFORE_START


@dataclass(frozen=True, slots=True)
class Tables:
    """Maps that the programs of one Tracer count in; one that was not compiled in is None."""

    capacity: Capacity
    pages: PageRecords
    cgroups: Places
    sites: Places
    lives: maps.HashMap
    moves: maps.HashMap
    lost: maps.ArrayMap
    exempted: maps.ArrayMap
    failures: maps.HashMap | None
    allocations: maps.ArrayMap | None
    walks: maps.ArrayMap | None

    @classmethod
    def of(cls, programs: Programs, room: Capacity, sees: Sees) -> "Tables":
        """Opens the maps of compiled programs.

        Args:
            programs: The programs, compiled.
            room: How many entries each map was compiled with.
            sees: What the programs were compiled to see.
        """
        fd = programs.map_fd
        failures = allocations = walks = None
        if sees.charge:
            failures = maps.HashMap(fd("failures"), structs.FAILURE_KEY, structs.ID, room.failures)
        if "alloc" in sees.latencies:
            allocations = maps.ArrayMap(fd("allocations"), structs.LATENCY, maps.possible_cpus())
        if programs.has_map("walks_checked"):
            walks = maps.ArrayMap(fd("walks_checked"), structs.ID, maps.possible_cpus())
        totals = structs.totals_dtype(sees.latencies)
        return cls(
            room,
            pages=_page_records(programs, room),
            cgroups=Places(programs, "cgroup", structs.ID, totals, room.cgroups),
            sites=Places(programs, "site", structs.SITE_KEY, structs.SITE, room.sites),
            lives=maps.HashMap(fd("lives"), structs.ID, structs.LIFE, room.lives),
            moves=maps.HashMap(fd("moves"), structs.ID, structs.ID, room.moves),
            lost=maps.ArrayMap(fd("losses"), structs.ID),
            exempted=maps.ArrayMap(fd("exempted"), structs.ID, maps.possible_cpus()),
            failures=failures,
            allocations=allocations,
            walks=walks,
        )

    def read(self) -> Reading:
        """Reads all that is needed for the cgroups of a Snapshot; it is valid until the next reading."""
        lives = self.lives.read()
        pages, charges = self.pages.read()
        failures = None if self.failures is None else self.failures.read()
        # Sums last: a page seen held is then in the sums already. Rates are made of them, and of this time.
        sites, clock, now = self.sites.read(), kernel_seconds(), time.time()
        cgroups = self.cgroups.read()
        add_sites(cgroups, sites)
        return Reading(clock, now, lives, pages, charges, sites, cgroups, failures)

    def losses(self) -> dict[Loss, int]:
        """Returns how often each kind of loss was counted since the programs were loaded."""
        return {loss: self.loss(loss) for loss in Loss}

    def loss(self, loss: Loss) -> int:
        """Returns how often one kind was."""
        return int(self.lost[loss.value][0])

    def checked_stacks(self) -> int | None:
        """Returns how many stacks were walked although they were known; None where the kernel walks all."""
        return None if self.walks is None else int(self.walks[0].sum())

    def exemptions(self) -> dict[Exemption, int]:
        """Returns how often the programs found something legal that looks like a mismatch, by the reason."""
        return {one: int(self.exempted[one.number].sum()) for one in Exemption}

    def moved(self) -> Mapping[int, int]:
        """Returns by process id when it last changed cgroups (ns, CLOCK_MONOTONIC)."""
        return {int(process): int(at) for process, at in zip(*self.moves.read(), strict=True)}

    def read_allocations(self) -> tuple[tuple[Allocations, ...] | None, float | None]:
        """Reads the time inside the page allocator.

        Returns:
            Latencies of allocations, accounted or not, by order, those left out that there were none of; and
            the part, 0 to 1, that charges have in the time of the accounted ones. None for both where they
            are not measured, and for the part where nothing was charged.
        """
        slots = self.allocations
        if slots is None:
            return None, None
        kinds = [(accounted, order) for accounted in (False, True) for order in range(MAX_ORDER + 1)]
        found = [Allocations(a, o, histogram(maps.sum_of(slots[i]))) for i, (a, o) in enumerate(kinds)]
        accounted = sum(f.latency.sum_ns for f in found if f.accounted)
        charges = int(slots[len(kinds)]["ns"].sum())
        share = min(1.0, charges / accounted) if accounted else None
        return tuple(f for f in found if f.latency.count), share

    def fill(self, reading: Reading) -> dict[str, MapFill]:
        """Returns how full the maps were at that reading, by name."""
        return {
            "pages": MapFill(len(reading.pages), self.capacity.pages),
            "cgroups": MapFill(len(reading.cgroups[0]), self.capacity.cgroups),
            "sites": MapFill(len(reading.sites[0]), self.capacity.sites),
            "lives": MapFill(len(reading.lives[0]), self.capacity.lives),
        }

    def forget(self, gone: Sequence[Ended]) -> None:
        """Takes cgroups out of the maps that are gone and hold nothing."""
        for ended in gone:
            for error in ended.errors:
                assert self.failures is not None
                self.failures.delete((ended.cgroup, error, 0))
            self.lives.delete(ended.cgroup)
        if gone:
            ids = np.array([ended.cgroup for ended in gone], structs.ID)
            self.cgroups.forget(ids)
            self.sites.forget(ids)


def add_sites(cgroups: tuple[Records, Records], sites: tuple[Records, Records]) -> None:
    """Adds to the sums of cgroups, which have what is counted at no call site, those of their call sites.

    What a site from before the start has is none of what was charged since.
    """
    ids, totals = cgroups
    keys, sums = sites
    if len(ids) == 0 or len(keys) == 0:
        return
    order = np.argsort(ids)
    found = np.minimum(np.searchsorted(ids, keys["cgroup"], sorter=order), len(ids) - 1)
    at = order[found]
    its = ids[at] == keys["cgroup"]
    since = its & ~np.isin(keys["stack"], list(BEFORE_START))
    np.add.at(totals["charged"], at[since], sums["charged"][since])
    for name in ("uncharged", "lost"):
        np.add.at(totals[name], at[its], sums[name][its])


def _page_records(programs: Programs, room: Capacity) -> PageRecords:
    if not programs.has_map("records"):
        return maps.HashMap(programs.map_fd("pages"), structs.ID, structs.CHARGE, room.pages)
    more = maps.HashMap(programs.map_fd("pages"), structs.ID, structs.CHARGE, map_entries(room))
    buckets = table_buckets(room)
    return RecordTable(programs.mapped("records", buckets * structs.BUCKET.itemsize), buckets, more)
