"""Cgroups that come and go faster than snapshots are made."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.model.enums import CgroupState
from kmemtrace.tracer.tracer import Tracer
from tests.live.workloads import drain_pipes, fill_pipes, run_in

MakeCgroup = Callable[[str], Path]
BUSY = 43
SETTLED_SECONDS = 3.0
"""What a removed cgroup leaves behind moves to its parent within this time."""


def parent_of_memory_cgroups(make_cgroup: MakeCgroup, name: str) -> Path:
    parent = make_cgroup(name)
    if memory_hierarchy().version == 2:
        (parent / "cgroup.subtree_control").write_text("+memory")
    return parent


@pytest.mark.one_tier("tracepoint")
def test_cgroups_that_nobody_is_in_take_no_room(tracer: Tracer, make_cgroup: MakeCgroup) -> None:
    """More of them than a map has room for, between two snapshots: one among them that was charged keeps
    its name all the same."""
    parent = parent_of_memory_cgroups(make_cgroup, "churn")
    used, before = parent / "used", tracer.snapshot()
    refused, many = sum(before.losses.map_full.values()), before.maps["lives"].capacity + 97
    for number in range(many):
        idle = parent / f"idle-{number}"
        idle.mkdir()
        if number == many // 2:
            used.mkdir()
            inode = used.stat().st_ino
            run_in(used, lambda: drain_pipes(fill_pipes(97)))
        idle.rmdir()
    used.rmdir()
    now = tracer.snapshot()
    assert sum(now.losses.map_full.values()) == refused
    rows = {c.path: c for c in now.cgroups if c.path.startswith(f"/{parent.name}/")}
    assert [c.key.id for c in rows.values()] == [inode]
    assert rows[f"/{parent.name}/used"].charged_pages >= 97


def test_a_removed_cgroup_that_holds_nothing_is_told_once_more_as_gone(
    tracer: Tracer, make_cgroup: MakeCgroup
) -> None:
    parent = parent_of_memory_cgroups(make_cgroup, "gone")
    before, jobs = tracer.snapshot().gone.cgroups, dict[int, str]()
    for number in range(BUSY):
        job = parent / f"job-{number}"
        job.mkdir()
        inode = job.stat().st_ino
        run_in(job, lambda: drain_pipes(fill_pipes(7)))
        job.rmdir()
        jobs[inode] = f"/{parent.name}/job-{number}"
    told = Counter[tuple[int, str, CgroupState]]()
    now = tracer.snapshot()
    deadline = time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < deadline:
        # What its processes left is freed a grace period later: until then it is dead, and holds that.
        rows = [c for c in now.cgroups if c.key.id in jobs and not c.held_pages]
        told.update((c.key.id, c.path, c.state) for c in rows)
        time.sleep(0.1)
        now = tracer.snapshot()
    assert [key for key, times in told.items() if times > 1] == []
    assert {(inode, path) for inode, path, _ in told} == set(jobs.items())
    assert {state for *_, state in told} == {CgroupState.GONE}
    assert now.gone.cgroups - before >= BUSY
