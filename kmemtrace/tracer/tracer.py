"""Has the live tracer, which attaches, and makes a Snapshot of the BPF maps whenever it is asked."""

import os
import platform
import resource
from collections.abc import Mapping
from threading import Event
from typing import Self

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.errors import CannotError
from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.facts import highest_page_frame
from kmemtrace.kernel.plan import Plan
from kmemtrace.kernel.symbols import kernel_symbols
from kmemtrace.model.enums import Exemption, Loss
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.verification import Departure
from kmemtrace.tracer.before import PagesBefore
from kmemtrace.tracer.capacity import STACK_DEPTH, Capacity
from kmemtrace.tracer.departures import Departures
from kmemtrace.tracer.doubtful import count_as_uncharged
from kmemtrace.tracer.judge import Judge, Judged
from kmemtrace.tracer.layouts import check_layouts, layouts
from kmemtrace.tracer.ledger import Ledger, View
from kmemtrace.tracer.loss_count import LossCount
from kmemtrace.tracer.maps import ArrayMap
from kmemtrace.tracer.objects import Objects
from kmemtrace.tracer.preparing import all_programs
from kmemtrace.tracer.program_info import ProgramInfo
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.reading import Reading
from kmemtrace.tracer.sees import sees
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.structs import ID
from kmemtrace.tracer.sweep import Sweeper
from kmemtrace.tracer.tables import Tables
from kmemtrace.tracer.verdicts import Sight, Verdicts
from kmemtrace.tracer.walk import Walk

_PAGE_SIZE = resource.getpagesize()
_SKIPPED_PROBES = (
    "a kprobe that an interrupt hits while the program of another one runs is skipped, and before 6.7 the "
    "kernel does not tell how often: what it could explain is called suspect"
)


class Tracer:
    """Traces the kernel: it is attached from start() to close(), and as a context manager does both."""

    def __init__(
        self,
        programs: Programs,
        plan: Plan,
        hierarchy: MemoryHierarchy,
        paths: CgroupPaths,
        capacity: Capacity,
        sites: bool = True,
    ) -> None:
        """Prepares to read what the programs count; nothing is attached yet.

        Args:
            programs: What prepared() made of the next arguments; closed by close().
            plan: What this kernel lets us do.
            hierarchy: The cgroup hierarchy that memory is accounted by.
            paths: Names cgroups.
            capacity: How many entries each map has.
            sites: Whether call sites are recorded; without, no stack is.

        Raises:
            CannotError: A map is refused.
        """
        assert plan.tier is not None
        self.plan, self.hierarchy = plan, hierarchy
        self._programs, self._tier, self._capacity = programs, plan.tier, capacity
        seen, symbols = sees(plan), kernel_symbols()
        symbols.begin_naming()
        check_layouts(programs, layouts(seen.latencies))
        self._tables = Tables.of(programs, capacity, seen)
        stacks = Stacks(ArrayMap(programs.map_fd("stacks"), ID, STACK_DEPTH), symbols)
        self._walk = Walk(programs, stacks, symbols, plan.tier) if sites and plan.walked is None else None
        self._before = PagesBefore(programs, plan, capacity)
        self._sweeper = Sweeper(programs)
        self._judge = Judge(programs, plan, Verdicts(stacks, lambda number: paths.resolve(number).path))
        self._losses = LossCount(programs, plan, self._tables)
        self._ledger = Ledger(hierarchy, paths, stacks, seen)
        self._objects = None if plan.objects is None else Objects(programs, plan.objects, symbols)
        self._departures = None
        if plan.sees_departures:
            self._departures = Departures(programs.fd, programs.map_fd("departures"), paths)
        self._unseen = _unseen(plan, sites=sites)
        self._memory = os.sysconf("SC_PHYS_PAGES")
        self._own_bytes = programs.map_bytes()
        self._began = kernel_seconds()

    def start(self) -> None:
        """Loads all programs and attaches those that events run.

        Raises:
            RefusedError: The kernel does not take one.
        """
        # First, for whoever gives up the privilege to load anything once all is attached, and because it
        # takes tenths of a second, in which what is attached already would count. It was begun before.
        for name in all_programs(self.plan):
            self._programs.fd(name)
        if self._departures is not None:
            self._departures.begin()
        self._began = self._programs.attach()
        self._losses.begin()
        if self._losses.skips_uncounted:
            self._unseen[Unseen.SKIPPED_PROBES] = _SKIPPED_PROBES

    def close(self) -> None:
        """Detaches, and gives back all that the kernel keeps for us."""
        self._programs.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_judging(self, seconds: float | None = None) -> None:
        """Returns when each class that can be judged is judged.

        Before that, an uncharge of a page that was not seen charged may be of one from before the start. It
        returns as well when it is known that it never will be judged, which `unseen` of a Snapshot tells
        then, or after so many seconds.

        Args:
            seconds: Longest time to wait; None: however long it takes.
        """
        self._before.wait(seconds)

    def departures(self) -> tuple[Departure, ...]:
        """Returns the cgroups that our processes went to: those that this one started, or that those started.

        They are the cgroups out of the subtree that is traced; without a subtree, all. There are none where
        that was not asked for.
        """
        return () if self._departures is None else self._departures.read()

    def adopt(self, stop: Event) -> None:
        """Looks for the pages that were charged before the start; it is called from a thread of its own.

        Args:
            stop: Ends the search early when it is set.
        """
        self._before.search(stop)

    def infos(self) -> Mapping[str, ProgramInfo]:
        """Returns what the kernel tells of each program that events run, by name."""
        return self._losses.infos()

    def snapshot(self, older_than: float | None = None) -> Snapshot:
        """Returns everything known now; it must not be called from two threads at once.

        Each step takes what the one before it gave: the maps are read, then mended and judged by what is
        read after them, then become cgroups, and what is gone is taken out last.

        Args:
            older_than: Tells also which pages are held for longer than so many seconds; None: not.

        Raises:
            CannotError: Memory was added that the tracer has no room for.
        """
        self._check_memory()
        if self._walk is not None:
            self._walk.learn(self._tables.loss(Loss.WALK_WRONG))
        followed = None if self._objects is None else self._objects.read()
        reading = self._tables.read()
        heirs = self._mend(reading)
        self._ledger.remember(reading)  # what is found may be of one that was made and removed since
        judged = self._judge.judge(self._losses.read, self._tables.moved, self._sight())
        count_as_uncharged(judged.doubtful, reading.sites, reading.cgroups)
        view = self._ledger.update(reading, heirs, judged.by_cgroup, followed, self._began)
        self._tables.forget(view.ended)
        for ended in view.ended:
            self._judge.forget(ended.cgroup)
            if self._objects is not None:
                self._objects.forget(ended.cgroup)
        return self._told(reading, judged, view, older_than)

    def _told(self, reading: Reading, judged: Judged, view: View, older_than: float | None) -> Snapshot:
        """Makes the Snapshot of what was read, what was judged, and the cgroups made of that."""
        old = None if older_than is None else tuple(self._ledger.old(reading, view.cgroups, older_than))
        allocations, charge_share = self._tables.read_allocations()
        maps = self._tables.fill(reading) | ({} if self._objects is None else self._objects.fill())
        return Snapshot(
            time=reading.time,
            host=platform.node(),
            kernel=self.plan.release,
            tier=self._tier,
            watched_seconds=reading.clock - self._began,
            page_size=_PAGE_SIZE,
            cgroups=view.cgroups,
            gone=view.gone,
            losses=judged.losses,
            mismatches=judged.mismatches,
            exempt=self._exempt(judged),
            maps=maps,
            old=old,
            allocations=allocations,
            charge_share=charge_share,
            preexisting_pages=self._before.pages(view),
            own_bytes=self._own_bytes,
            unseen=self._unseen | self._before.unseen(),
            unjudged_seconds=self._before.unjudged_seconds(self._began),
        )

    def _check_memory(self) -> None:
        """Refuses to go on once memory was added beyond what the filters are made for.

        They have a bit for each page of the machine as it was: of memory that is added beyond them, pages
        would share bits with others, and be judged by what became of those.
        """
        memory = os.sysconf("SC_PHYS_PAGES")
        if memory == self._memory:
            return
        if highest_page_frame() > self._capacity.filtered_frames:
            raise CannotError("Memory was added to this machine since the start: start kmemtrace again.")
        self._memory = memory

    def _mend(self, reading: Reading) -> Mapping[int, int]:
        """Ends records whose page was not seen to end; returns what Sweeper.sweep() does."""
        heirs = self._sweeper.sweep(reading.pages, reading.charges, self._judge.may_have_missed)
        self._before.confirm(self._sweeper, reading)
        return heirs

    def _sight(self) -> Sight:
        """Returns how far the programs' events can be relied upon by now."""
        return Sight(self._losses.skips_uncounted, self._before.searched_from, self._before.confirmed_at)

    def _exempt(self, judged: Judged) -> dict[Exemption, int]:
        """Adds up what was found legal by the programs and by the judge; reasons without any are left out."""
        counts = {one: n + judged.exempted.get(one, 0) for one, n in self._tables.exemptions().items()}
        return {one: n for one, n in counts.items() if n}


def _unseen(plan: Plan, *, sites: bool) -> dict[Unseen, str]:
    """Returns what cannot be seen as long as this tracer runs, each with the reason."""
    unseen = dict(plan.unseen)
    if not sites:
        unseen[Unseen.SITES] = "call sites are not recorded (--no-sites)"
    elif (hidden := kernel_symbols().hidden) is not None:
        # First, where a line has no room for all: it can be mended.
        unseen = {Unseen.SYMBOLS: hidden} | unseen
    return unseen
