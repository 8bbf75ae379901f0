"""The live tracer: attaches, and makes a Snapshot of the BPF maps whenever asked."""

import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from kmemtrace.cgroups.accounting import in_root_cgroup
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import version
from kmemtrace.kernel.hooks import Event, Hook
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Loss, Tier
from kmemtrace.model.snapshot import Allocations, Losses, MapFill, Snapshot
from kmemtrace.tracer import maps
from kmemtrace.tracer.capacity import INSPECT_BATCH, LIFE_PATH, MAX_ORDER, STACK_DEPTH, Capacity
from kmemtrace.tracer.ledger import Ended, Ledger, Reading, Sees, histogram
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import program_text
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.sweep import Sweeper

SOURCE = "kmemtrace.bpf.c"

_SWEEP_SINCE = (5, 10)
"""BPF_PROG_TEST_RUN of raw tracepoint programs: 1b4d60ec162f."""


_KPROBE_MISSES_SINCE = (6, 7)
"""dd8657894c11: before, the count of a skipped kprobe program stays 0, which must not be shown."""


@dataclass(frozen=True, slots=True)
class _Maps:
    pages: maps.HashMap
    cgroups: maps.HashMap
    sites: maps.HashMap
    lives: maps.HashMap
    losses: maps.ArrayMap
    failures: maps.HashMap | None
    allocations: maps.ArrayMap | None


class Tracer:
    """Attached from start() to close(); a context manager does both."""

    def __init__(
        self,
        plan: Plan,
        hierarchy: MemoryHierarchy,
        paths: CgroupPaths,
        capacity: Capacity,
        subtree: Defines | None = None,
        sites: bool = True,
    ) -> None:
        """Compiles; nothing is attached yet. Without `sites` no stack is recorded.

        Raises CannotError.
        """
        if plan.tier is None:
            raise CannotError(plan.refusal or "No tier works on this kernel.")
        self.plan, self.hierarchy = plan, hierarchy
        self._tier, self._capacity = plan.tier, capacity
        sweeps = version(plan.release) >= _SWEEP_SINCE
        self._programs = Programs(
            program_text(SOURCE),
            plan.programs,
            _defines(plan, hierarchy, capacity, sweeps)
            | ({} if sites else {"WITHOUT_SITES": 1})
            | (subtree or {}),
        )
        self._unseen = _unseen(plan, sweeps=sweeps, sites=sites)
        sees = _sees(plan)
        self._maps = self._open_maps(sees)
        stacks = maps.ArrayMap(self._programs.map_fd("stacks"), np.dtype("u8"), STACK_DEPTH)
        self._ledger = Ledger(
            hierarchy,
            paths,
            Stacks(stacks, self._programs.symbol, self._programs.kernel_text()),
            sees,
        )
        self._sweeper = self._make_sweeper() if sweeps else None
        self._started = self._last = time.monotonic()
        self._own_bytes = self._programs.map_bytes()
        self._looked_charged: int | None = None
        self._preexisting: int | None = None

    def start(self) -> None:
        self._programs.attach()
        self._started = self._last = time.monotonic()

    def close(self) -> None:
        self._programs.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_preexisting(self, pages: int) -> None:
        """Tells how many pages looked charged just after the start, once that has been counted.

        Those that the tracer follows by then are not from before it, nor are its own maps.
        """
        self._looked_charged = pages

    def _own_charged_bytes(self) -> int:
        """Of our maps; before 5.11 BPF's memory was charged to nobody."""
        charged = version(self.plan.release) >= (5, 11) and not in_root_cgroup(self.hierarchy)
        return (self._own_bytes or 0) if charged else 0

    def infos(self) -> dict[str, ProgramInfo]:
        """By program, for those that events run."""
        return {name: program_info(self._programs.fd(name)) for name in self.plan.programs}

    def snapshot(self) -> Snapshot:
        """Everything known now. Not to be called from two threads at once."""
        now = time.monotonic()
        reading = self._read()
        heirs = {} if self._sweeper is None else self._sweeper.sweep(reading.pages, reading.charges)
        view = self._ledger.update(reading, now, heirs)
        for ended in view.ended:
            self._forget(ended)
        self._drop_births(reading)
        if self._preexisting is None and self._looked_charged is not None:
            ours = sum(cgroup.held_pages for cgroup in view.cgroups)
            ours += self._own_charged_bytes() // _PAGE_SIZE
            self._preexisting = max(0, self._looked_charged - ours)
        interval, self._last = now - self._last, now
        allocations, charge_share = self._read_allocations()
        return Snapshot(
            time=time.time(),
            host=platform.node(),
            kernel=self.plan.release,
            tier=self._tier,
            interval_seconds=interval,
            page_size=_PAGE_SIZE,
            cgroups=view.cgroups,
            gone=view.gone,
            losses=self._losses(),
            maps=self._fill(reading),
            allocations=allocations,
            charge_share=charge_share,
            preexisting_pages=self._preexisting,
            own_bytes=self._own_bytes,
            unseen=self._unseen,
        )

    def _open_maps(self, sees: Sees) -> _Maps:
        fd, room = self._programs.map_fd, self._capacity
        life, totals = maps.life_dtype(LIFE_PATH), maps.totals_dtype(sees.latencies)
        failures = allocations = None
        if sees.charge:
            failures = maps.HashMap(fd("failures"), maps.FAILURE_KEY, maps.ID, room.failures)
        if "alloc" in sees.latencies:
            allocations = maps.ArrayMap(fd("allocations"), maps.LATENCY, maps.possible_cpus())
        return _Maps(
            pages=maps.HashMap(fd("pages"), maps.ID, maps.CHARGE, room.pages),
            cgroups=maps.HashMap(fd("cgroups"), maps.ID, totals, room.cgroups),
            sites=maps.HashMap(fd("sites"), maps.SITE_KEY, maps.SITE, room.sites),
            lives=maps.HashMap(fd("lives"), maps.ID, life, room.lives),
            losses=maps.ArrayMap(fd("losses"), np.dtype("u8")),
            failures=failures,
            allocations=allocations,
        )

    def _make_sweeper(self) -> Sweeper:
        fd = self._programs.map_fd("inspections")
        inspections = maps.ArrayMap(fd, maps.INSPECTION, INSPECT_BATCH)
        return Sweeper(self._programs.fd, inspections)

    def _read(self) -> Reading:
        lives = self._maps.lives.read()
        pages, charges = self._maps.pages.read()
        failures = None if self._maps.failures is None else self._maps.failures.read()
        # Sums last: a page seen held is then in the sums already.
        sites, cgroups = self._maps.sites.read(), self._maps.cgroups.read()
        return Reading(lives, pages, charges, sites, cgroups, failures)

    def _read_allocations(self) -> tuple[tuple[Allocations, ...] | None, float | None]:
        """Alloc latencies by kind and order, and the part that charges have in the accounted ones."""
        slots = self._maps.allocations
        if slots is None:
            return None, None
        kinds = [(accounted, order) for accounted in (False, True) for order in range(MAX_ORDER + 1)]
        found = [Allocations(a, o, histogram(maps.sum_of(slots[i]))) for i, (a, o) in enumerate(kinds)]
        accounted = sum(f.latency.sum_ns for f in found if f.accounted)
        charges = int(slots[len(kinds)]["ns"].sum())
        share = min(1.0, charges / accounted) if accounted else None
        return tuple(f for f in found if f.latency.count), share

    def _forget(self, ended: Ended) -> None:
        """Takes a cgroup that is gone and holds nothing out of the maps."""
        for stack in ended.stacks:
            self._maps.sites.delete((ended.cgroup, stack, 0))
        for error in ended.errors:
            assert self._maps.failures is not None
            self._maps.failures.delete((ended.cgroup, error, 0))
        self._maps.cgroups.delete(ended.cgroup)
        self._maps.lives.delete(ended.cgroup)

    def _drop_births(self, reading: Reading) -> None:
        """The names of living cgroups are remembered by now; rmdir will enter them again."""
        for cgroup_id, life in zip(*reading.lives, strict=True):
            if not life["removed"]:
                self._maps.lives.delete(cgroup_id)

    def _losses(self) -> Losses:
        lost = {loss: int(self._maps.losses[loss.value][0]) for loss in Loss}
        misses = {n: i.recursion_misses for n, i in self.infos().items()}
        if self._tier is Tier.KPROBE and version(self.plan.release) < _KPROBE_MISSES_SINCE:
            misses = dict.fromkeys(misses)
        counted = {n: m for n, m in misses.items() if m is not None}
        return Losses(
            recursion_misses=counted if len(counted) == len(misses) else None,
            map_full={
                "pages": lost[Loss.PAGES_FULL],
                "cgroups": lost[Loss.CGROUPS_FULL],
                "sites": lost[Loss.SITES_FULL],
                "lives": lost[Loss.LIVES_FULL],
                "stalled": lost[Loss.STALLED_FULL],
                "failures": lost[Loss.FAILURES_FULL],
            },
            ring_drops=0,
            healed=lost[Loss.HEALED],
            swept=lost[Loss.SWEPT],
            unmatched_frees=lost[Loss.UNMATCHED_FREE],
            unknown_stacks=lost[Loss.STACK_UNKNOWN],
        )

    def _fill(self, reading: Reading) -> Mapping[str, MapFill]:
        room = self._capacity
        return {
            "pages": MapFill(len(reading.pages), room.pages),
            "cgroups": MapFill(len(reading.cgroups[0]), room.cgroups),
            "sites": MapFill(len(reading.sites[0]), room.sites),
            "lives": MapFill(len(reading.lives[0]), room.lives),
        }


_PAGE_SIZE = resource.getpagesize()


def _sees(plan: Plan) -> Sees:
    def has(event: Event) -> bool:
        return isinstance(plan.hooks[event], Hook)

    latencies = ["lifetime"]
    latencies += ["charge"] if has(Event.CHARGE) else []
    latencies += ["alloc"] if isinstance(plan.alloc_function, Hook) else []
    reclaim = has(Event.RECLAIM_BEGIN) and has(Event.RECLAIM_END)
    return Sees(has(Event.KERNEL_TOTAL), reclaim, has(Event.CHARGE), tuple(latencies))


def _defines(plan: Plan, hierarchy: MemoryHierarchy, capacity: Capacity, sweeps: bool) -> Defines:
    numbers = [*platform.release().split("-")[0].split("."), "0", "0"][:3]
    release = ",".join(n if n.isdigit() else "0" for n in numbers)
    constants: Defines = {
        "KMEMTRACE_KERNEL_VERSION": f"KERNEL_VERSION({release})",
        "MEMORY_HIERARCHY": hierarchy.hierarchy_id,
    }
    if hierarchy.version == 1:
        constants["CGROUP_V1"] = 1
    if sweeps:
        constants["WITH_SWEEP"] = 1
    return plan.defines | capacity.defines() | constants


def _unseen(plan: Plan, *, sweeps: bool, sites: bool) -> dict[str, str]:
    unseen = {
        **plan.unseen,
        "mismatches": "this version judges no mismatch class: it counts, and says what it missed",
    }
    if not sites:
        unseen["sites"] = "call sites are not recorded (--no-sites)"
    if not sweeps:
        unseen["sweep"] = (
            "before 5.10 the records of pages whose end was missed can only be mended when the page "
            "is handed out again"
        )
    return unseen
