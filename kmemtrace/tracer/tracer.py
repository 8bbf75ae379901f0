"""The live tracer: attaches, and makes a Snapshot of the BPF maps whenever asked."""

import os
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Self

import numpy as np

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.errors import CannotError
from kmemtrace.kernel import hooks
from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.facts import highest_page_frame, version
from kmemtrace.kernel.hooks import Hook
from kmemtrace.kernel.layout import Defines, kernel_version
from kmemtrace.kernel.plan import Plan
from kmemtrace.kernel.symbols import kernel_symbols
from kmemtrace.model.enums import Exemption, Loss, MismatchClass, Tier
from kmemtrace.model.snapshot import Allocations, Losses, MapFill, Snapshot
from kmemtrace.model.verification import Departure
from kmemtrace.tracer import departures, maps, objects
from kmemtrace.tracer.adoption import LOOKED_FOR, SEARCHING, Adoption
from kmemtrace.tracer.capacity import INSPECT_BATCH, LIFE_PATH, MAX_ORDER, STACK_DEPTH, Capacity
from kmemtrace.tracer.departures import Departures
from kmemtrace.tracer.doubtful import count_as_uncharged
from kmemtrace.tracer.layouts import check_layouts, layouts
from kmemtrace.tracer.ledger import Ended, Ledger, Reading, Sees, View, histogram
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.objects import Objects
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import program_text
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.sweep import Sweeper
from kmemtrace.tracer.verdicts import FINDING, FOUND_BEFORE, Sight, Verdicts

SOURCE = "kmemtrace.bpf.c"

_SWEEP_SINCE = (5, 10)
"""BPF_PROG_TEST_RUN of raw tracepoint programs: 1b4d60ec162f."""


PAGE_PROGRAMS = frozenset(
    (
        "page_alloc",
        "page_free",
        "charge_entry",
        "charge_exit",
        "uncharge",
        "put_uncharge",
        "put_uncharge_batch",
        "split",
    )
)
"""Those that open, change and end records: only their misses can explain a finding away."""

SWEEP_PROGRAMS = ("inspect", "sweep")
ADOPTION_PROGRAMS = ("find_page_map", "find_charged", "adopt")
"""No event runs these, but we do: at each snapshot, and once after the start."""

_UNDER_WAY_SECONDS = 10.0
"""From an uncharge's begin to when its page's mark is gone: a microsecond, or longer for who is preempted."""
_NO_ROOM = (
    "{pages:,} pages charged before the start have no room in the map of pages (half of it is for those): "
    "--max-pages gives more"
)
_KPROBE_MISSES_SINCE = (6, 7)
"""dd8657894c11: before, the count of a skipped kprobe program stays 0, which must not be shown."""
_SKIPPED_PROBES = (
    "a kprobe that an interrupt hits while the program of another one runs is skipped, and before 6.7 the "
    "kernel does not tell how often: what it could explain is called suspect"
)


@dataclass(frozen=True, slots=True)
class _Maps:
    pages: maps.HashMap
    cgroups: maps.HashMap
    sites: maps.HashMap
    lives: maps.HashMap
    losses: maps.ArrayMap
    moves: maps.HashMap
    exempted: maps.ArrayMap
    failures: maps.HashMap | None
    allocations: maps.ArrayMap | None
    findings_seen: maps.ArrayMap | None
    adoptions: maps.ArrayMap


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
        self._skips_uncounted = False
        sees = _sees(plan)
        self._judges = "WITH_VERDICTS" in plan.defines
        check_layouts(self._programs, layouts(sees.latencies))
        self._maps = self._open_maps(sees)
        addresses = maps.ArrayMap(self._programs.map_fd("stacks"), np.dtype("u8"), STACK_DEPTH)
        stacks = Stacks(addresses, kernel_symbols())
        self._ledger = Ledger(hierarchy, paths, stacks, sees)
        self._findings = self._programs.ring("findings") if self._judges else None
        self._verdicts = Verdicts(stacks, lambda cgroup_id: paths.resolve(cgroup_id).path)
        self._missed = Missed()
        self._unpaired_at_start = 0
        """Ends of charges that began before their begin was probed: nothing was missed of those."""
        self._dropped = 0
        """Findings that were counted, and that the ring had no room for."""
        self._adoption = self._make_adoption()
        self._departures = None
        if "WITH_DEPARTURES" in plan.defines:
            self._departures = Departures(self._programs.fd, self._programs.map_fd("departures"), paths)
        self._objects = None
        if "WITH_OBJECTS" in plan.defines:
            self._objects = Objects(self._programs, plan.defines, kernel_symbols())
        self._sweeper = self._make_sweeper() if sweeps else None
        self._memory = os.sysconf("SC_PHYS_PAGES")
        self._began = kernel_seconds()
        self._own_bytes = self._programs.map_bytes()
        self._confirmed_at: float | None = None

    def start(self) -> None:
        # First, for whoever gives up the privilege to load anything once all is attached, and because it
        # takes tenths of a second, in which what is attached already would count.
        for name in (*self.plan.programs, *self._on_request()):
            self._programs.fd(name)
        if self._departures is not None:
            self._departures.begin()
        self._began = self._programs.attach()
        self._unpaired_at_start = int(self._maps.losses[Loss.UNPAIRED.value][0])
        self._skips_uncounted = any(self._programs.skipped(name) is None for name in self.plan.programs)
        if self._skips_uncounted:
            self._unseen["skipped probes"] = _SKIPPED_PROBES

    def _on_request(self) -> list[str]:
        """Programs that no event runs, but we do."""
        names = [] if self._sweeper is None else [*SWEEP_PROGRAMS]
        if self._adoption is not None:
            names += ADOPTION_PROGRAMS
        if self._departures is not None:
            names += departures.PROGRAMS
        if self._objects is not None:
            names += objects.ON_REQUEST
        return names

    def close(self) -> None:
        self._programs.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_judging(self, seconds: float | None = None) -> None:
        """Returns when each class that can be judged is judged: before, an uncharge of a page not seen
        charged may be of one from before the start. Or when it is known that it never will be, which `unseen`
        of a Snapshot tells then; or after so many seconds."""
        if self._adoption is not None:
            self._adoption.wait(seconds)

    def departures(self) -> tuple[Departure, ...]:
        """The cgroups that processes which this one started, or those started, went to: out of the subtree
        that is traced; without one, all. Nothing where that was not asked for."""
        return () if self._departures is None else self._departures.read()

    def adopt(self, stop: Event) -> None:
        """Looks for the pages that were charged before the start, where this kernel tells where pages are."""
        if self._adoption is not None:
            page_struct = 1 << int(self.plan.defines["STRUCT_PAGE_SHIFT"])
            self._adoption.run(self._capacity.page_frames, page_struct, stop)

    def infos(self) -> dict[str, ProgramInfo]:
        """By program, for those that events run."""
        return {name: program_info(self._programs.fd(name)) for name in self.plan.programs}

    def snapshot(self, older_than: float | None = None) -> Snapshot:
        """Everything known now; with `older_than` also which pages are held for longer than so many
        seconds. Not to be called from two threads at once.

        Raises CannotError when memory was added that the tracer has no room for."""
        self._check_memory()
        followed = None if self._objects is None else self._objects.read()
        reading = self._read()
        heirs: Mapping[int, int] = {}
        if self._sweeper is not None:
            heirs = self._sweeper.sweep(reading.pages, reading.charges, self._may_have_missed)
            self._confirm(self._sweeper, reading)
        found = self._take_findings()
        losses = self._losses()
        self._judge(found, losses)
        count_as_uncharged(self._verdicts.doubtful, reading.sites, reading.cgroups)
        view = self._ledger.update(reading, heirs, self._verdicts.by_cgroup, followed)
        for ended in view.ended:
            self._forget(ended)
        old = None
        if older_than is not None:
            old = tuple(self._ledger.old(reading, view.cgroups, older_than))
        allocations, charge_share = self._read_allocations()
        return Snapshot(
            time=reading.time,
            host=platform.node(),
            kernel=self.plan.release,
            tier=self._tier,
            watched_seconds=reading.clock - self._began,
            page_size=_PAGE_SIZE,
            cgroups=view.cgroups,
            gone=view.gone,
            losses=losses,
            mismatches=self._verdicts.mismatches,
            exempt=self._exempt(),
            maps=self._fill(reading),
            old=old,
            allocations=allocations,
            charge_share=charge_share,
            preexisting_pages=self._preexisting(view),
            own_bytes=self._own_bytes,
            unseen=self._unseen_now(),
            unjudged_seconds=self._unjudged_seconds(),
        )

    def _check_memory(self) -> None:
        """The filters have a bit for each page of the machine as it was: of memory that is added beyond
        them, pages would share bits with others, and be judged by what became of those."""
        memory = os.sysconf("SC_PHYS_PAGES")
        if memory == self._memory:
            return
        if highest_page_frame() > self._capacity.filtered_frames:
            raise CannotError("Memory was added to this machine since the start: start kmemtrace again.")
        self._memory = memory

    def _may_have_missed(self, since_ns: int) -> bool:
        """Whether the uncharge of a page that was charged then can have been missed."""
        if self._tier is Tier.TRACEPOINT or self._uncounted():
            return True
        return self._missed.between(since_ns / 1e9, kernel_seconds()) > 0

    def _confirm(self, sweeper: Sweeper, reading: Reading) -> None:
        """Looks once more at the pages that the search found, when what was under way is over. One that was
        being uncharged, whose program had run by then, bears no mark now, and no end of it will be seen."""
        over = None if self._adoption is None else self._adoption.ended
        if self._confirmed_at is not None or over is None or kernel_seconds() < over + _UNDER_WAY_SECONDS:
            return
        before = (reading.charges["flags"] & FOUND_BEFORE) != 0
        sweeper.sweep_unmarked(reading.pages[before], reading.charges[before])
        self._confirmed_at = kernel_seconds()

    def _uncounted(self) -> bool:
        return self._tier is Tier.KPROBE and version(self.plan.release) < _KPROBE_MISSES_SINCE

    def _take_findings(self) -> list[maps.Records]:
        """What was found since the last time."""
        if self._findings is None or self._maps.findings_seen is None:
            return []
        # Before the ring: what is found in between is in the ring, and not yet dropped.
        seen = sum(int(self._maps.findings_seen[c.value][0]) for c in MismatchClass)
        found = [np.frombuffer(data, FINDING, 1)[0] for data in self._findings()]
        self._dropped = max(self._dropped, seen - self._verdicts.received - len(found))
        return found

    def _judge(self, found: list[maps.Records], losses: Losses) -> None:
        """`losses` are read after the findings: one that explains a finding is then among them."""
        if not self._judges:
            return
        count = page_events_missed(losses)
        if self._tier is not Tier.TRACEPOINT:
            count += losses.swept  # its record may by then have been that of a later charge
        self._missed.note(kernel_seconds(), count)
        moves = {int(k): int(v) for k, v in zip(*self._maps.moves.read(), strict=True)}
        searched_from = self._adoption.began if self._adoption else None
        sight = Sight(self._skips_uncounted, searched_from, self._confirmed_at)
        self._verdicts.take(found, moves, self._missed, sight)

    def _unseen_now(self) -> dict[str, str]:
        if self._adoption is None:
            return self._unseen
        found = dict(self._unseen)
        if self._adoption.ended is None:
            found["preexisting"] = self._adoption.failure or LOOKED_FOR
        elif refused := int(self._maps.adoptions[0]["refused"][0]):
            found["preexisting"] = _NO_ROOM.format(pages=refused)
        if self._adoption.ended is None and self._judges_stray:
            found[MismatchClass.STRAY_UNCHARGE.label] = self._adoption.failure or SEARCHING
        return found

    @property
    def _judges_stray(self) -> bool:
        return MismatchClass.STRAY_UNCHARGE not in self.plan.unjudged

    def _unjudged_seconds(self) -> dict[str, float]:
        if self._adoption is None or not self._judges_stray:
            return {}
        until = kernel_seconds() if self._adoption.ended is None else self._adoption.ended
        return {MismatchClass.STRAY_UNCHARGE.label: max(0.0, until - self._began)}

    def _exempt(self) -> dict[str, int]:
        here = self._verdicts.exempted()
        counts = {e: int(self._maps.exempted[e.value].sum()) + here.get(e, 0) for e in Exemption}
        return {e.label: n for e, n in counts.items() if n}

    def _misses(self) -> dict[str, int] | None:
        """By program, how often it was skipped, itself or its kprobe; None where the kernel does not tell."""
        if self._uncounted():
            return None
        misses = {n: i.recursion_misses for n, i in self.infos().items()}
        counted = {n: m + (self._programs.skipped(n) or 0) for n, m in misses.items() if m is not None}
        return counted if len(counted) == len(misses) else None

    def _open_maps(self, sees: Sees) -> _Maps:
        fd, room = self._programs.map_fd, self._capacity
        life, totals = maps.life_dtype(LIFE_PATH), maps.totals_dtype(sees.latencies)
        failures = allocations = findings_seen = None
        if self._judges:
            findings_seen = maps.ArrayMap(fd("findings_seen"), maps.ID)
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
            moves=maps.HashMap(fd("moves"), maps.ID, maps.ID, room.moves),
            exempted=maps.ArrayMap(fd("exempted"), maps.ID, maps.possible_cpus()),
            failures=failures,
            allocations=allocations,
            findings_seen=findings_seen,
            adoptions=maps.ArrayMap(fd("adoptions"), maps.ADOPTION),
        )

    def _make_sweeper(self) -> Sweeper:
        fd = self._programs.map_fd("inspections")
        inspections = maps.ArrayMap(fd, maps.INSPECTION, INSPECT_BATCH)
        return Sweeper(self._programs.fd, inspections)

    def _make_adoption(self) -> Adoption | None:
        if not self.plan.finds_pages:
            return None
        return Adoption(
            self._programs.fd,
            maps.ArrayMap(self._programs.map_fd("page_map"), maps.ID),
            maps.ArrayMap(self._programs.map_fd("searches"), maps.SEARCH),
            self._through if self._judges else lambda: None,
            by_symbol="PAGE_MAP_AT" in self.plan.defines,
        )

    def _through(self) -> None:
        """Tells the programs that all pages charged before the start are known."""
        maps.ArrayMap(self._programs.map_fd("scanned"), maps.ID)[0] = np.ones(1, "u8")

    def _preexisting(self, view: View) -> int | None:
        if self._adoption is None or self._adoption.ended is None:
            return None
        return view.gone.preexisting_pages + sum(cgroup.preexisting_pages for cgroup in view.cgroups)

    def _read(self) -> Reading:
        lives = self._maps.lives.read()
        pages, charges = self._maps.pages.read()
        failures = None if self._maps.failures is None else self._maps.failures.read()
        # Sums last: a page seen held is then in the sums already. Rates are made of them, and of this time.
        sites, clock, now = self._maps.sites.read(), kernel_seconds(), time.time()
        cgroups = self._maps.cgroups.read()
        return Reading(clock, now, lives, pages, charges, sites, cgroups, failures)

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
        self._verdicts.forget(ended.cgroup)
        if self._objects is not None:
            self._objects.forget(ended.cgroup)

    def _losses(self) -> Losses:
        lost = {loss: int(self._maps.losses[loss.value][0]) for loss in Loss}
        of_objects = {"objects": lost[Loss.OBJECTS_FULL], "object_sites": lost[Loss.OBJECT_SITES_FULL]}
        return Losses(
            recursion_misses=self._misses(),
            map_full={
                "pages": lost[Loss.PAGES_FULL],
                "cgroups": lost[Loss.CGROUPS_FULL],
                "sites": lost[Loss.SITES_FULL],
                "lives": lost[Loss.LIVES_FULL],
                "stalled": lost[Loss.STALLED_FULL],
                "failures": lost[Loss.FAILURES_FULL],
                "batches": lost[Loss.BATCH_FULL],
                "departures": lost[Loss.DEPARTURES_FULL],
                **({} if self._objects is None else of_objects),
            },
            unpaired=lost[Loss.UNPAIRED] - self._unpaired_at_start,
            pages_busy=lost[Loss.PAGES_BUSY],
            ring_drops=self._dropped + self._verdicts.unkept,
            healed=lost[Loss.HEALED],
            swept=lost[Loss.SWEPT],
            unmatched_frees=lost[Loss.UNMATCHED_FREE],
            unknown_stacks=lost[Loss.STACK_UNKNOWN],
            mended_objects=None if self._objects is None else lost[Loss.OBJECTS_MENDED],
        )

    def _fill(self, reading: Reading) -> Mapping[str, MapFill]:
        room = self._capacity
        return {
            "pages": MapFill(len(reading.pages), room.pages),
            "cgroups": MapFill(len(reading.cgroups[0]), room.cgroups),
            "sites": MapFill(len(reading.sites[0]), room.sites),
            "lives": MapFill(len(reading.lives[0]), room.lives),
            **({} if self._objects is None else self._objects.fill()),
        }


_PAGE_SIZE = resource.getpagesize()


def page_events_missed(losses: Losses) -> int:
    """Events of pages that no program saw whole, so that records are open, or missing, that should not be."""
    skipped = sum(n for name, n in (losses.recursion_misses or {}).items() if name in PAGE_PROGRAMS)
    return skipped + losses.map_full["batches"] + losses.unpaired + losses.pages_busy


def _sees(plan: Plan) -> Sees:
    def has(event: hooks.Event) -> bool:
        return isinstance(plan.hooks[event], Hook)

    latencies = ["lifetime"]
    latencies += ["charge"] if has(hooks.Event.CHARGE) else []
    latencies += ["alloc"] if isinstance(plan.alloc_function, Hook) else []
    reclaim = has(hooks.Event.RECLAIM_BEGIN) and has(hooks.Event.RECLAIM_END)
    loses = not {MismatchClass.LOST_UNCHARGE, MismatchClass.SIZE_MISMATCH} & plan.unjudged.keys()
    return Sees(has(hooks.Event.KERNEL_TOTAL), reclaim, has(hooks.Event.CHARGE), loses, tuple(latencies))


def _defines(plan: Plan, hierarchy: MemoryHierarchy, capacity: Capacity, sweeps: bool) -> Defines:
    constants: Defines = {
        **kernel_version(platform.release()),
        "MEMORY_HIERARCHY": hierarchy.hierarchy_id,
    }
    if hierarchy.version == 1:
        constants["CGROUP_V1"] = 1
    if sweeps:
        constants["WITH_SWEEP"] = 1
    return plan.defines | capacity.defines() | constants


def _unseen(plan: Plan, *, sweeps: bool, sites: bool) -> dict[str, str]:
    unseen = dict(plan.unseen)
    if len(plan.unjudged) == len(MismatchClass):
        unseen["mismatches"] = next(iter(plan.unjudged.values()))
    if not sites:
        unseen["sites"] = "call sites are not recorded (--no-sites)"
    elif (hidden := kernel_symbols().hidden) is not None:
        unseen = {"symbols": hidden} | unseen  # first, where a line has no room for all: it can be mended
    if not sweeps:
        unseen["sweep"] = (
            "before 5.10 the records of pages whose end was missed can only be mended when the page "
            "is handed out again"
        )
    return unseen
