"""Slab objects as they come and go, on this kernel: exact numbers, by cache and function."""

import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmemtrace.census.census import Censor
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.session import make_tracer
from kmemtrace.kernel.facts import version
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.test_census import LOADS
from tests.tracing import new_cgroup

DESCRIPTORS, WATCHED = 4001, 2003
ROOT = Path(__file__).parents[2]
FILL = "import sys; from tests.live import workloads; workloads.fill(*sys.argv[1:])"
FILE = ("alloc_empty_file", "__alloc_file")
"""Which of these asks for the object of an open file: the one, or up to 6.0 the other, which it calls."""


@pytest.fixture(scope="module")
def follower() -> Iterator[Tracer]:
    with make_tracer(objects=True) as tracer:
        if not tracer.plan.follows_objects:
            pytest.skip(tracer.plan.unseen[Unseen.OBJECTS])
        yield tracer


@pytest.fixture(scope="module")
def censor(follower: Tracer) -> Iterator[Censor]:
    assert follower is not None
    with open_censor() as found:
        yield found


@pytest.fixture
def folder(request: pytest.FixtureRequest, follower: Tracer) -> Iterator[Path]:
    made = new_cgroup(f"objects-{request.node.name[:24].replace('[', '-')}")
    yield made
    if made.exists():
        made.rmdir()


def row(snapshot: Snapshot, cgroup: int) -> Cgroup:
    return next(c for c in snapshot.cgroups if c.key.id == cgroup)


def site(snapshot: Snapshot, cgroup: int, *functions: str) -> ObjectSite:
    found = [one for one in row(snapshot, cgroup).objects or () if one.site in functions]
    assert found, f"nothing was charged by {functions}"
    return found[0]


def files_held(snapshot: Snapshot, cgroup: int) -> int:
    """0 also of one that has been told for the last time."""
    objects = [one for c in snapshot.cgroups if c.key.id == cgroup for one in c.objects or ()]
    return sum(one.held_objects for one in objects if one.site in FILE)


def missed(snapshot: Snapshot, before: Snapshot) -> int:
    """What could make a count inexact: events that were skipped, or had no room."""
    return snapshot.losses.missed_events - before.losses.missed_events


def settled(tracer: Tracer, done: Callable[[Snapshot], bool], seconds: float = 240.0) -> Snapshot:
    """Mending rests 100 times as long as it takes, which is minutes on an emulated machine."""
    deadline = time.monotonic() + seconds
    while True:
        snapshot = tracer.snapshot()
        if done(snapshot) or time.monotonic() > deadline:
            return snapshot
        time.sleep(0.5)


def open_descriptors(count: int = DESCRIPTORS) -> list[int]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    return [os.eventfd(0) for _ in range(count)]


def watch_descriptors() -> tuple[list[int], select.epoll]:
    made, watch = open_descriptors(WATCHED), select.epoll()
    for one in made:
        watch.register(one)
    return made, watch


def test_files_are_counted_exactly_held_and_then_freed(follower: Tracer, folder: Path) -> None:
    before, cgroup = follower.snapshot(), folder.stat().st_ino
    with workloads.held_in(folder, open_descriptors):
        held = follower.snapshot()
    files = site(held, cgroup, *FILE)
    slack = missed(held, before)
    assert DESCRIPTORS - slack <= files.held_objects <= DESCRIPTORS + slack
    assert files.object_bytes > 100
    freed = settled(follower, lambda s: site(s, cgroup, *FILE).held_objects == 0)
    files = site(freed, cgroup, *FILE)
    assert files.held_objects == 0
    assert abs(files.freed_objects - DESCRIPTORS) <= missed(freed, before)


def test_what_is_freed_in_bulk_is_mended(follower: Tracer, censor: Censor, folder: Path) -> None:
    """Watches of epoll are freed by kfree_rcu(), which does so in bulk, and seconds later. From 7.0 on each
    CPU gathers them in a sheaf, and those of one that is not full yet stay charged."""
    before, cgroup = follower.snapshot(), folder.stat().st_ino
    with workloads.held_in(folder, watch_descriptors):
        held = follower.snapshot()
        slack = missed(held, before)
        objects = row(held, cgroup).objects or ()
    watches = [one for one in objects if one.site.startswith(("do_epoll_ctl", "ep_insert"))]
    assert any(abs(one.held_objects - WATCHED) <= slack for one in watches), objects

    kinds = {(one.cache, one.site) for one in watches}

    def held_still(snapshot: Snapshot) -> int:
        found = row(snapshot, cgroup).objects or ()
        return sum(one.held_objects for one in found if (one.cache, one.site) in kinds)

    def there_still() -> int:
        """By the vectors of the slabs, which are the truth."""
        account = next(c.account for c in censor.take().cgroups if c.key.id == cgroup)
        caches = {one.cache for one in watches}
        return sum(use.objects for use in account.caches if use.cache in caches)

    after = settled(follower, lambda s: held_still(s) == there_still())
    assert held_still(after) == there_still(), row(after, cgroup).objects
    if version(follower.plan.release) < (7, 0):
        after = settled(follower, lambda s: not held_still(s))
        assert not held_still(after), row(after, cgroup).objects


def test_what_nobody_is_charged_for_is_not_followed(follower: Tracer, folder: Path) -> None:
    """Buffers for paths: 4 KB each, of a cache that is not accounted."""

    def look_up() -> None:
        os.close(os.eventfd(0))
        for _ in range(10_007):
            Path("/").stat()

    cgroup = folder.stat().st_ino
    workloads.run_in(folder, look_up)
    found = row(follower.snapshot(), cgroup).objects or ()
    assert any(one.site in FILE for one in found)
    assert not [one for one in found if "name" in one.cache or one.charged_objects > 5000]


def test_a_removed_cgroup_stays_while_its_objects_do(follower: Tracer, folder: Path) -> None:
    cgroup = folder.stat().st_ino
    other = new_cgroup("objects-elsewhere")
    try:
        with workloads.held_in(folder, open_descriptors, leave_to=other):
            folder.rmdir()
            dead = row(follower.snapshot(), cgroup)
            assert dead.state is CgroupState.DEAD
            assert folder.name in dead.path
            assert site(follower.snapshot(), cgroup, *FILE).held_objects >= DESCRIPTORS - 1
        # Its names of files may stay cached for as long as nobody wants the memory.
        after = settled(follower, lambda s: not files_held(s, cgroup))
        assert not files_held(after, cgroup)
    finally:
        other.rmdir()


@pytest.mark.parametrize("what", ["events", "pipes"])
def test_objects_refused_at_a_limit(follower: Tracer, what: str) -> None:
    """The cgroup's limit has the kernel end the process, and the allocation that was under way gives nothing:
    nearly always while the limit is still reached, which tells it from a machine without free memory.

    A process of its own: a fork of the tests' copies pages of its heap, and can end at one of these."""
    if what == "events" and version(follower.plan.release) < (6, 0):
        pytest.skip("before 6.0 no event tells that a file which was not given would have been accounted")
    for number in range(7):
        folder = new_cgroup(f"objects-limit-{number}")
        workloads.set_limit(folder, (2 << 20) + number * 17 * workloads.PAGE)  # another object meets it
        fill = [sys.executable, "-c", FILL, str(folder), what]
        ended = subprocess.run(fill, cwd=ROOT, check=False).returncode
        assert ended == -signal.SIGKILL
        found = row(follower.snapshot(), folder.stat().st_ino).objects or ()
        folder.rmdir()
        if refused := [one.failed_objects for one in found if one.failed_objects]:
            assert refused == [1]
            return
    pytest.fail("no object was refused in 7 cgroups at their limits")


def test_nothing_is_followed_without_being_asked_for() -> None:
    with make_tracer() as tracer:
        snapshot = tracer.snapshot()
        assert "object_alloc" not in tracer.plan.programs
    assert snapshot.losses.mended_objects is None
    assert all(cgroup.objects is None for cgroup in snapshot.cgroups)


@pytest.mark.parametrize("name", LOADS)
def test_what_is_followed_is_what_the_census_counts(
    name: str, follower: Tracer, censor: Censor, folder: Path
) -> None:
    """Of a cgroup that was made after the start, by cache, whatever its processes do."""
    load, before, cgroup = LOADS[name], follower.snapshot(), folder.stat().st_ino
    with workloads.held_in(folder, load.work):
        deadline = time.monotonic() + 20.0
        while True:
            snapshot = follower.snapshot()
            account = next(c.account for c in censor.take().cgroups if c.key.id == cgroup)
            followed = Counter[str]()
            for one in row(snapshot, cgroup).objects or ():
                followed[one.cache] += one.held_objects
            counted = Counter({use.cache: use.objects for use in account.caches})
            apart = sum(((followed - counted) + (counted - followed)).values())
            if apart <= missed(snapshot, before) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    load.after()
    assert apart <= missed(snapshot, before), (followed - counted, counted - followed)
    assert all(counted[cache] >= least for cache, least in load.caches.items())
