"""A machine that is made up: cgroups that come, grow and go, the same each time for the same seed."""

import dataclasses
import random
from collections.abc import Iterable, Iterator

from kmemtrace.model.enums import SiteKind
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, Snapshot
from tests.sample import PIPE_STACK, TABLE_STACK, cgroup, counted, mismatch, site

BEGAN = 1_780_000_000.0


def machine(seed: int) -> Iterator[Snapshot]:
    """Snapshots without end, a second apart. /counter is charged 1000 pages and the Snapshot's number."""
    chance, growth = random.Random(seed), [0] * 12
    number = 0
    while True:
        for which in chance.sample(range(len(growth)), 3):
            growth[which] += chance.randrange(50)
        there = [i for i, size in enumerate(growth) if size and (i + number // 5) % 4]
        some = [dataclasses.replace(grown(i, growth[i]), oldest_at=number - 7.0) for i in there]
        yield at(number, some)
        number += 1


def at(number: int, some: Iterable[Cgroup]) -> Snapshot:
    """The Snapshot of that number, with /counter and some other cgroups."""
    of = counted()
    found = tuple(mismatch(pid=i, count=number // (i + 3)) for i in range(3) if number // (i + 3))
    return dataclasses.replace(
        of,
        time=BEGAN + number,
        watched_seconds=float(number),
        cgroups=(cgroup("/counter", (site(1000 + number),), id=1), *some, *of.cgroups),
        mismatches=found,
    )


def grown(which: int, size: int) -> Cgroup:
    table = TABLE_STACK[which % 3 :]
    sites = [site(size, size // 3), site(size, size, SiteKind.PAGE_TABLE, "pte_alloc_one", table)]
    if which % 2:
        sites.append(site(which, 0, stack=PIPE_STACK[which % 5 + 1 :]))
    lifetime = Histogram.of([1000 * size] * 7)
    return cgroup(f"/pods/{which}", tuple(sites), id=100 + which, lifetime=lifetime)
