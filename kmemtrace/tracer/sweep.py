"""Finds records whose charge ended without a free that we saw, and ends them.

Two kinds: a page taken out of kmem accounting in place (a pipe page stolen by splice), and a page
whose free was missed. Neither leaves an event, so nothing per event could find them; the mark on
the page tells, and is looked at here, a share of the held pages at each snapshot.
"""

from collections.abc import Callable

import numpy as np

from kmemtrace.kernel.test_run import test_run
from kmemtrace.tracer.capacity import INSPECT_BATCH
from kmemtrace.tracer.maps import ArrayMap, Records
from kmemtrace.tracer.structs import INSPECTION

PAGES_PER_SNAPSHOT = 512 * INSPECT_BATCH
"""Records that are looked at for a snapshot, which bounds its work: 256 system calls, about 6 ms. More held
pages take more snapshots."""


class Sweeper:
    """Runs the programs `inspect` and `sweep` over the records of pages."""

    def __init__(self, program: Callable[[str], int], inspections: ArrayMap) -> None:
        """Prepares to sweep.

        Args:
            program: Gives the descriptor of a BPF function, loading it when first asked.
            inspections: The map by which `inspect` is asked and answers.
        """
        self._program, self._inspections = program, inspections
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
        looks = [self._inspect(look) for look in self._share(pages, charges)]
        found = np.concatenate(looks) if looks else np.zeros(0, INSPECTION)
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
        for begin in range(0, len(pages), INSPECT_BATCH):
            looks = np.zeros(len(pages[begin : begin + INSPECT_BATCH]), INSPECTION)
            looks["page"], looks["time"] = pages[begin:][: len(looks)], charges["time"][begin:][: len(looks)]
            found = self._inspect(looks)
            for look in found[found["unmarked"] == 1]:
                test_run(self._program("sweep"), int(look["page"]), int(look["time"]))

    def _share(self, pages: Records, charges: Records) -> list[Records]:
        """Returns batches of inspections: last sweep's suspects again, then the next of the others."""
        if len(pages) <= PAGES_PER_SNAPSHOT:
            chosen = slice(None)
        else:
            begin = self._next if self._next < len(pages) else 0
            chosen = slice(begin, begin + PAGES_PER_SNAPSHOT)
            self._next = begin + PAGES_PER_SNAPSHOT
        looks = np.zeros(len(pages[chosen]) + len(self._suspects), INSPECTION)
        for i, (page, time) in enumerate(self._suspects):
            looks[i] = (page, time, 0, 0, 0)
        looks["page"][len(self._suspects) :] = pages[chosen]
        looks["time"][len(self._suspects) :] = charges["time"][chosen]
        looks["cgroup"][len(self._suspects) :] = charges["cgroup"][chosen]
        return [looks[i : i + INSPECT_BATCH] for i in range(0, len(looks), INSPECT_BATCH)]

    def _inspect(self, looks: Records) -> Records:
        """Inspects up to INSPECT_BATCH records, and returns what the program found of them."""
        batch = np.zeros(INSPECT_BATCH, INSPECTION)
        batch[: len(looks)] = looks
        self._inspections[0] = batch
        test_run(self._program("inspect"))
        return self._inspections[0][: len(looks)]
