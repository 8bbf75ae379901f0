"""What only function probes see: results, latencies, charges outside the allocator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kmemtrace.commands.session import make_tracer
from kmemtrace.kernel.facts import version
from kmemtrace.model.enums import SiteKind, Tier
from kmemtrace.model.snapshot import Cgroup
from kmemtrace.tracer.tracer import Tracer
from tests.live import fuse, workloads
from tests.live.test_workloads import PIPE_WRITE, at, left, nothing_held, of_kind, settled
from tests.live.workloads import run_in
from tests.tracing import Watched

MakeCgroup = Callable[[str], Path]
Watch = Callable[[Path], Watched]


def charges(cgroup: Cgroup) -> int:
    return cgroup.latency["charge"].count


def test_every_charge_is_timed(functions: Tier, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """4,099 pipe pages, one charge each; with no event missed, as many charges were timed as records
    were opened, and each record was ended."""
    folder = make_cgroup("timed")
    watched = watch(folder)
    run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(4099)))
    after = settled(watched, nothing_held)
    assert at(after, PIPE_WRITE).charged_pages == 4099
    assert charges(after) >= 4099
    if watched.losses() == 0:
        assert left(after) == 0
        ended = after.latency["lifetime"].count
        assert ended <= charges(after) <= ended + after.held_pages


def test_skips_of_probes_are_counted_or_named(functions: Tier, tracer: Tracer) -> None:
    """A kernel that does not tell them makes sums less than exact, and findings suspect: it has to say so."""
    told = version(tracer.plan.release) >= (6, 7)
    assert ("skipped probes" in tracer.snapshot().unseen) == (functions is Tier.KPROBE and not told)


def test_fork_storm(functions: Tier, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 processes, one after the other: 4 pages of kernel stack each, charged outside the
    allocator, and page tables; all given back, exactly, unless events were missed."""
    folder = make_cgroup("forks")
    watched = watch(folder)
    run_in(folder, lambda: workloads.fork_children(211))
    after = settled(watched, nothing_held)
    assert after.explicit_pages == 4 * 211
    assert of_kind(after, SiteKind.THREAD_STACK).charged_pages == 4 * 211
    assert left(after) <= watched.losses()


def test_a_failed_charge_has_its_errno(
    functions: Tier, tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch
) -> None:
    """7 arrays that a limit of 512 KiB refuses."""
    folder = make_cgroup("refused")
    watched = watch(folder)
    workloads.set_limit(folder, 512 * 1024)
    with workloads.largest_pipe(16384):
        run_in(folder, lambda: workloads.expect_refusals(16384, 7))
    assert watched.row().failed_by_errno == {"ENOMEM": 7}


@pytest.mark.one_tier("kprobe")
def test_charges_at_a_limit_show_the_reclaim_stall(
    functions: Tier, make_cgroup: MakeCgroup, watch: Watch, tmp_path: Path
) -> None:
    """A file of 16 MiB fills the page cache to a limit of 12 MiB; charges of 8 pages then have to wait
    while some of it is reclaimed. Their P99 is at least ten times that of the same work without a
    limit, which is done more often, since it takes little time and an interrupt in one of its
    charges says nothing. The file is one of FUSE's, for not every guest has a disk."""
    if "fuse" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no FUSE, whose files fill the page cache here")
    with fuse.mounted(tmp_path, 4096) as data, workloads.largest_pipe(512):
        free, _ = _charge_p99(make_cgroup("unlimited"), watch, data, 12)
        limited = make_cgroup("limited")
        workloads.set_limit(limited, 12 << 20)
        stalled, row = _charge_p99(limited, watch, data, 3)
    assert row.reclaim_stalls
    assert row.reclaim_stall_seconds
    assert stalled >= 10 * free


def _charge_p99(folder: Path, watch: Watch, data: Path, rounds: int) -> tuple[float, Cgroup]:
    watched = watch(folder)
    run_in(folder, lambda: workloads.compete_with_page_cache(data, rounds))
    row = watched.row()
    p99 = row.latency["charge"].quantile_seconds(0.99)
    assert p99 is not None
    return p99, row


def test_allocations_are_timed_on_request(functions: Tier, make_cgroup: MakeCgroup) -> None:
    """4,099 pages of order 0, and 211 arrays of order 3, each of them timed, with their charges."""
    folder = make_cgroup("allocations")
    inode = folder.stat().st_ino
    with make_tracer(functions, alloc_latency=True) as timing, workloads.largest_pipe(512):
        before = _accounted(timing)
        run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(4099)))
        run_in(folder, lambda: workloads.pipes_with_arrays(211, 512))
        after = _accounted(timing)
        snapshot = timing.snapshot()
    row = next(c for c in snapshot.cgroups if c.key.id == inode)
    missed = snapshot.losses.missed_events  # anywhere on the machine
    assert after[0] - before[0] >= 4099 - missed
    assert after[3] - before[3] >= 211 - missed
    assert row.latency["alloc"].count >= 4099 + 211 - missed
    assert snapshot.charge_share is not None
    assert 0 < snapshot.charge_share < 1


def _accounted(tracer: Tracer) -> dict[int, int]:
    """Accounted allocations timed so far, by order."""
    allocations = tracer.snapshot().allocations
    assert allocations is not None
    counts = dict.fromkeys(range(11), 0)
    return counts | {a.order: a.latency.count for a in allocations if a.accounted}
