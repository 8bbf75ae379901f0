"""Finds records whose charge ended without a free that we saw, and ends them.

Two kinds: a page taken out of kmem accounting in place (a pipe page stolen by splice), and a page
whose free was missed. Neither leaves an event, so nothing per event could find them; the mark on
the page tells, and is looked at here, a share of the held pages at each snapshot.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmemtrace.kernel.test_run import test_run
from kmemtrace.tracer.capacity import INSPECT_BATCH, INSPECT_BATCHES
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.structs import INSPECTION

PAGES_PER_SNAPSHOT = INSPECT_BATCHES * INSPECT_BATCH
"""Records that are looked at for a snapshot, which bounds its work: 512 system calls, about 3 ms. More held
pages take more snapshots."""


class Sweeper:
    """Runs the programs `inspect` and `sweep` over the records of pages."""

    def __init__(self, programs: Programs) -> None:
        self._program = programs.fd
        shared = programs.mapped("inspections", PAGES_PER_SNAPSHOT * INSPECTION.itemsize)
        self._looks: NDArray[Any] = np.frombuffer(shared, INSPECTION, PAGES_PER_SNAPSHOT)
        """By which `inspect` is asked and answers."""
        self._next = 0
        self._suspects: set[tuple[int, int]] = set()

    def sweep(self, pages: Records, charges: Records, may_end: Callable[[int], bool]) -> dict[int, int]:
        """Looks at the next share of these records, and ends those found unmarked in two sweeps.

        Args:
            pages: Keys of the records.
            charges: The records.
            may_end: Says whether a record may be ended, told when it was charged (ns, CLOCK_MONOTONIC): where
                every uncharge is seen, and none can have been missed since, the page's free is waited for,
                which tells more.

        Returns:
            By charged cgroup, which other one the kernel counts pages of it to now: those of a removed cgroup
            are handed to its parent (from 5.13 on).
        """
        found = self._inspect(self._share(pages, charges))
        unmarked = found[found["unmarked"] == 1]
        suspects = {(int(look["page"]), int(look["time"])) for look in unmarked}
        for page, time in suspects & self._suspects:
            if may_end(time):
                test_run(self._program("sweep"), page, time)
        self._suspects = suspects
        moved = found[(found["counted_to"] != 0) & (found["counted_to"] != found["cgroup"])]
        return {int(look["cgroup"]): int(look["counted_to"]) for look in moved if look["cgroup"]}

    def sweep_unmarked(self, pages: Records, charges: Records) -> None:
        """Looks at all of these records, and ends those that are unmarked at once."""
        for begin in range(0, len(pages), PAGES_PER_SNAPSHOT):
            some = slice(begin, begin + PAGES_PER_SNAPSHOT)
            found = self._inspect(_looks(pages[some], charges[some]))
            for look in found[found["unmarked"] == 1]:
                test_run(self._program("sweep"), int(look["page"]), int(look["time"]))

    def _share(self, pages: Records, charges: Records) -> Records:
        """Returns what to look at: last sweep's suspects again, then the next of the others."""
        again = np.array([(page, time, 0, 0, 0) for page, time in self._suspects], INSPECTION)
        room = PAGES_PER_SNAPSHOT - len(again)
        if len(pages) <= room:
            chosen = slice(None)
        else:
            begin = self._next if self._next < len(pages) else 0
            chosen = slice(begin, begin + room)
            self._next = begin + room
        return np.concatenate((again, _looks(pages[chosen], charges[chosen])))

    def _inspect(self, looks: Records) -> Records:
        """Inspects up to PAGES_PER_SNAPSHOT records, and returns what the program found of them."""
        count = len(looks)
        self._looks[:count] = looks
        inspect = self._program("inspect")
        for batch in range(-(-count // INSPECT_BATCH)):
            test_run(inspect, batch)
        return self._looks[:count].copy()


def _looks(pages: Records, charges: Records) -> Records:
    looks = np.zeros(len(pages), INSPECTION)
    looks["page"], looks["time"], looks["cgroup"] = pages, charges["time"], charges["cgroup"]
    return looks
