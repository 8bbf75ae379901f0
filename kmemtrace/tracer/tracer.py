"""The live tracer: attaches, and makes a Snapshot of the BPF maps whenever asked."""

import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import version
from kmemtrace.kernel.hooks import Event, Hook
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Loss
from kmemtrace.model.snapshot import Losses, MapFill, Snapshot
from kmemtrace.tracer import maps
from kmemtrace.tracer.capacity import INSPECT_BATCH, LIFE_PATH, STACK_DEPTH, Capacity
from kmemtrace.tracer.ledger import Ledger, Reading
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.sweep import Sweeper

SOURCE = "tracepoint.bpf.c"

_LARGE_MAPS = ("tracked", "pages", "cgroups", "sites", "stacks", "lives")

_SWEEP_SINCE = (5, 10)
"""BPF_PROG_TEST_RUN of raw tracepoint programs: 1b4d60ec162f."""


@dataclass(frozen=True, slots=True)
class _Maps:
    pages: maps.HashMap
    cgroups: maps.HashMap
    sites: maps.HashMap
    lives: maps.HashMap
    losses: maps.ArrayMap


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
            SOURCE,
            _defines(plan, hierarchy, capacity, sweeps)
            | ({} if sites else {"WITHOUT_SITES": 1})
            | (subtree or {}),
        )
        self._unseen = _unseen(plan, sweeps=sweeps, sites=sites)
        self._maps = self._open_maps()
        stacks = maps.ArrayMap(self._programs.map_fd("stacks"), np.dtype("u8"), STACK_DEPTH)
        self._ledger = Ledger(
            hierarchy,
            paths,
            Stacks(stacks, self._programs.symbol),
            kernel_total=isinstance(plan.hooks[Event.KERNEL_TOTAL], Hook),
        )
        self._sweeper = self._make_sweeper() if sweeps else None
        self._started = self._last = time.monotonic()
        self._own_bytes = self._programs.map_bytes(_LARGE_MAPS)
        self._looked_charged: int | None = None
        self._preexisting: int | None = None

    def start(self) -> None:
        self._programs.attach(self.plan.programs)
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

    def infos(self) -> dict[str, ProgramInfo]:
        """By program, for those that events run."""
        return {name: program_info(self._programs.fd(name)) for name in self.plan.programs}

    def snapshot(self) -> Snapshot:
        """Everything known now. Not to be called from two threads at once."""
        now = time.monotonic()
        reading = self._read()
        if self._sweeper is not None:
            self._sweeper.sweep(reading.pages, reading.charges)
        view = self._ledger.update(reading, now)
        for cgroup_id, stacks in view.ended:
            self._forget(cgroup_id, stacks)
        self._drop_births(reading)
        if self._preexisting is None and self._looked_charged is not None:
            ours = sum(cgroup.held_pages for cgroup in view.cgroups)
            ours += (self._own_bytes or 0) // _PAGE_SIZE
            self._preexisting = max(0, self._looked_charged - ours)
        interval, self._last = now - self._last, now
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
            preexisting_pages=self._preexisting,
            own_bytes=self._own_bytes,
            unseen=self._unseen,
        )

    def _open_maps(self) -> _Maps:
        fd, room = self._programs.map_fd, self._capacity
        life = maps.life_dtype(LIFE_PATH)
        return _Maps(
            pages=maps.HashMap(fd("pages"), maps.ID, maps.CHARGE, room.pages),
            cgroups=maps.HashMap(fd("cgroups"), maps.ID, maps.TOTALS, room.cgroups),
            sites=maps.HashMap(fd("sites"), maps.SITE_KEY, maps.SITE, room.sites),
            lives=maps.HashMap(fd("lives"), maps.ID, life, room.lives),
            losses=maps.ArrayMap(fd("losses"), np.dtype("u8")),
        )

    def _make_sweeper(self) -> Sweeper:
        fd = self._programs.map_fd("inspections")
        inspections = maps.ArrayMap(fd, maps.INSPECTION, INSPECT_BATCH)
        return Sweeper(self._programs.fd, inspections)

    def _read(self) -> Reading:
        lives = self._maps.lives.read()
        pages, charges = self._maps.pages.read()
        # Sums last: a page seen held is then in the sums already.
        return Reading(lives, pages, charges, self._maps.sites.read(), self._maps.cgroups.read())

    def _forget(self, cgroup_id: int, stacks: list[int]) -> None:
        """Takes a cgroup that is gone and holds nothing out of the maps."""
        for stack in stacks:
            self._maps.sites.delete((cgroup_id, stack, 0))
        self._maps.cgroups.delete(cgroup_id)
        self._maps.lives.delete(cgroup_id)

    def _drop_births(self, reading: Reading) -> None:
        """The names of living cgroups are remembered by now; rmdir will enter them again."""
        for cgroup_id, life in zip(*reading.lives, strict=True):
            if not life["removed"]:
                self._maps.lives.delete(cgroup_id)

    def _losses(self) -> Losses:
        lost = {loss: int(self._maps.losses[loss.value][0]) for loss in Loss}
        misses = {n: i.recursion_misses for n, i in self.infos().items()}
        counted = {n: m for n, m in misses.items() if m is not None}
        return Losses(
            recursion_misses=counted if len(counted) == len(misses) else None,
            map_full={
                "pages": lost[Loss.PAGES_FULL],
                "cgroups": lost[Loss.CGROUPS_FULL],
                "sites": lost[Loss.SITES_FULL],
                "lives": lost[Loss.LIVES_FULL],
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
