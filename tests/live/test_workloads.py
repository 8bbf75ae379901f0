"""Known workloads against this host's kernel: what was charged, uncharged and held, to the page.

Counts are taken by call site, since the process that does the work is charged for other things
too: its page tables, the arrays of its pipes. What is stated for the whole cgroup says so.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.commands.session import make_tracer
from kmemtrace.kernel.run_time import counting
from kmemtrace.model.enums import CgroupState, Exemption, SiteKind, Tier
from kmemtrace.model.snapshot import Cgroup, Site
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.sweep import _looks
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.workloads import held_in, run_in
from tests.tracing import Early, Watched, certain

MakeCgroup = Callable[[str], Path]
Watch = Callable[[Path], Watched]

PIPE_WRITE = ("anon_pipe_write", "pipe_write", "anon_pipe_prefill_and_lock")
"""6.14 split anon_pipe_write off pipe_write, 7.3 takes the first pages before it locks the pipe."""
PIPE_ARRAY = ("pipe_resize_ring", "pipe_set_size", "pipe_fcntl")
GROWTH = ("arena_vm_fault", "trie_update_elem")
"""How a BPF map grows by the work of whoever touches it."""


def at(cgroup: Cgroup, symbols: Iterable[str]) -> Site:
    """The sum of a cgroup's call sites of these names."""
    sites = [s for s in cgroup.sites if s.symbol in symbols]
    assert sites, f"no call site {symbols} among {[s.symbol for s in cgroup.sites]}"
    return _sum(sites)


def of_kind(cgroup: Cgroup, kind: SiteKind) -> Site:
    return _sum([s for s in cgroup.sites if s.kind is kind])


def through(cgroup: Cgroup, functions: Iterable[str]) -> Site:
    """The sum of the call sites that one of these functions led to."""
    return _sum([s for s in cgroup.sites if {f.partition("+")[0] for f in s.stack} & set(functions)])


def _sum(sites: list[Site]) -> Site:
    charged, uncharged = sum(s.charged_pages for s in sites), sum(s.uncharged_pages for s in sites)
    return Site(sites[0].kind if sites else SiteKind.OTHER, "", (), charged, uncharged)


def settled(watched: Watched, is_so: Callable[[Cgroup], bool], seconds: float = 10.0) -> Cgroup:
    """The cgroup's row once `is_so` holds of it, or after so long: frees wait for RCU, for
    deferred work and for per-CPU batches. Read once more then: a Snapshot's call sites are some
    milliseconds older than its cgroups' sums."""
    deadline = time.monotonic() + seconds
    while not is_so(watched.row()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return watched.row()


def nothing_held(cgroup: Cgroup) -> bool:
    return left(cgroup) == 0


def left(cgroup: Cgroup) -> int:
    """Pages held, but for the page directory of a process that has ended: an idle CPU borrows it
    until it runs another one (lazy TLB), which can take long."""
    borrowed = sum(s.held_pages for s in cgroup.sites if "pgd_alloc" in s.symbol)
    return cgroup.held_pages - min(borrowed, 2 * (os.cpu_count() or 1))


@pytest.mark.parametrize(
    "run", [pytest.param(i, marks=pytest.mark.repeated) if i >= 3 else i for i in range(20)]
)
def test_pipe_pages_to_the_page(run: int, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """4,099 pages written to pipes and read: exactly so many charged, held, and uncharged."""
    folder = make_cgroup(f"pipe{run}")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.fill_pipes(4099)):
        full = at(watched.row(), PIPE_WRITE)
        assert (full.charged_pages, full.held_pages) == (4099, 4099)
    run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(4099)))
    after = settled(watched, nothing_held)
    drained = at(after, PIPE_WRITE)
    assert (drained.charged_pages, drained.uncharged_pages) == (2 * 4099, 2 * 4099)
    assert after.mismatches == {} or watched.losses()
    # The whole cgroup, page tables and all: nothing stays when nothing was missed.
    assert left(after) <= watched.losses()


def test_unix_socket_buffers(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 messages of 64 KiB. The kernel puts what fits into an array of order 2 (16,064 bytes,
    a few hundred less on some versions) and the rest, rounded up to pages, into fragments: 13 pages,
    one more where the array is smaller."""
    folder = make_cgroup("socket")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.send_messages(211, 65536)):
        sockets = of_kind(watched.row(), SiteKind.UNIX_SOCKET)
        assert 211 * 13 <= sockets.held_pages <= 211 * (14 + 4)
        assert sockets.held_pages % 211 == 0
    after = settled(watched, nothing_held)
    sockets = of_kind(after, SiteKind.UNIX_SOCKET)
    assert sockets.uncharged_pages == sockets.charged_pages
    assert left(after) <= watched.losses()


def test_a_table_of_descriptors_is_no_socket_buffer(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """It grows from 4,096 to 8,192 slots of 8 bytes, 16 pages, as a message passes one."""
    folder = make_cgroup("descriptors")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.receive_descriptor(4096)):
        grown = [s for s in watched.row().sites if any("scm_detach_fds" in frame for frame in s.stack)]
    tables = [s for s in grown if s.held_pages == 16]
    assert [s.symbol for s in tables] == ["alloc_fdtable"]
    assert not [s for s in grown if s.kind is SiteKind.UNIX_SOCKET]


def test_page_tables_of_sparse_memory(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """1,009 page tables, and what a like process that touches nothing needs; the tables above
    them (one for each 512, at most 3 here with its neighbours) are counted apart."""
    folder = make_cgroup("tables")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.touch_sparsely(1)):
        alone = of_kind(watched.row(), SiteKind.PAGE_TABLE).held_pages
    settled(watched, nothing_held)
    with held_in(folder, lambda: workloads.touch_sparsely(1010)):
        tables = of_kind(watched.row(), SiteKind.PAGE_TABLE).held_pages
        assert 1009 <= tables - alone <= 1009 + 3
    after = settled(watched, nothing_held)
    assert left(after) <= watched.losses()


def test_short_lived_threads(tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 threads: the page table that each user stack needs, and all given back. The 4 pages of
    each kernel stack are charged outside the page allocator, which only function probes see."""
    folder = make_cgroup("threads")
    watched = watch(folder)
    run_in(folder, lambda: workloads.run_threads(211))
    after = settled(watched, nothing_held)
    if tracer.plan.tier is Tier.TRACEPOINT:
        assert after.explicit_pages is None
        assert "thread stacks" in tracer.snapshot().unseen[Unseen.CHARGE]
    else:
        assert after.explicit_pages == 4 * 211
        assert of_kind(after, SiteKind.THREAD_STACK).uncharged_pages == 4 * 211
    assert 211 <= of_kind(after, SiteKind.PAGE_TABLE).charged_pages <= 2 * 211 + 11
    assert left(after) <= watched.losses()


def test_removed_cgroup_is_dead_while_its_pages_live(
    tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch
) -> None:
    """A pipe holds 1,009 pages of a cgroup that is removed: it shows as dead, under its name, with
    the one that the kernel counts them to since, until the pipe is closed."""
    folder, elsewhere = make_cgroup("removed"), make_cgroup("elsewhere")
    watched, legal = watch(folder), exempt(tracer, Exemption.REPARENTED)
    with held_in(folder, lambda: workloads.fill_pipes(1009), leave_to=elsewhere):
        assert watched.row().state is CgroupState.ONLINE
        folder.rmdir()
        row = watched.row()
        assert row.state is CgroupState.DEAD
        assert row.path.endswith(folder.name)
        assert row.held_pages >= 1009
        assert at(row, PIPE_WRITE).held_pages == 1009
        # Offlining, and with it reparenting, comes after rmdir; before 5.13 there is none.
        heir = "/" if kernel_version(tracer) >= (5, 13) else None
        row = settled(watched, lambda c: c.reparented_to == heir, 5.0 if heir else 1.0)
        assert row.reparented_to == heir
        assert at(row, PIPE_WRITE).held_pages == 1009
        folder.mkdir()  # a new cgroup of the same name must not be taken for it
        assert watched.row().state is CgroupState.DEAD
    deadline = time.monotonic() + 10
    while (last := watched.cgroup()) is not None and left(last) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert last is None or left(last) == 0
    if heir and tracer.plan.tier is not Tier.TRACEPOINT:  # which sees no owner after the put path
        assert exempt(tracer, Exemption.REPARENTED) - legal >= 1009
    assert certain(tracer) == []


def exempt(tracer: Tracer, why: Exemption) -> int:
    """How often something was found to be legal for that reason."""
    return tracer.snapshot().exempt.get(why, 0)


def test_cgroup_of_a_moment_keeps_its_name(tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """Made, used and removed between two snapshots."""
    tracer.snapshot()
    folder = make_cgroup("moment")
    inode = folder.stat().st_ino
    run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(97)))
    folder.rmdir()
    row = next(c for c in tracer.snapshot().cgroups if c.key.id == inode)
    folder.mkdir()
    assert row.path == f"/{folder.name}"
    assert row.state is CgroupState.GONE
    assert at(row, PIPE_WRITE).charged_pages == 97


def test_it_has_its_name_when_what_was_found_is_judged(
    tracer: Tracer, make_cgroup: MakeCgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer.snapshot()
    folder = make_cgroup("moment")
    inode = folder.stat().st_ino
    run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(97)))
    folder.rmdir()
    verdicts, named = tracer._judge._verdicts, []
    take = verdicts.take

    def taken(*arguments: Any) -> None:
        named.append(verdicts._name(inode))
        take(*arguments)

    monkeypatch.setattr(verdicts, "take", taken)
    tracer.snapshot()
    folder.mkdir()
    assert named == [f"/{folder.name}"]


@pytest.mark.parametrize("semaphores", [70001, 163001])
def test_split_blocks(semaphores: int, tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """Blocks of 512 pages, charged whole, split by vmalloc and freed one page at a time: legal."""
    legal = exempt(tracer, Exemption.SPLIT)
    limits = Path("/proc/sys/kernel/sem")
    before = limits.read_text()
    limits.write_text("200000 32000000 500 128")
    folder = make_cgroup("split")
    watched = watch(folder)
    size = semaphores * workloads.semaphore_bytes()
    blocks = -(-size // (512 * workloads.PAGE))
    found: list[int] = []
    try:
        run_in(folder, lambda: _keep_semaphores(semaphores))
        found = _semaphore_sets(semaphores)
        held = at(watched.row(), ("newary",))
        exact = -(-size // workloads.PAGE)
        if held.held_pages - exact <= 1:
            pytest.skip("this kernel had no blocks of 2 MB to take")
        assert held.held_pages == blocks * 512
    finally:
        for identifier in found:
            workloads.remove_semaphores(identifier)
        limits.write_text(before)
    after = settled(watched, nothing_held)
    freed = at(after, ("newary",))
    assert (freed.charged_pages, freed.uncharged_pages) == (blocks * 512, blocks * 512)
    assert left(after) <= watched.losses()
    assert exempt(tracer, Exemption.SPLIT) - legal >= blocks
    assert certain(tracer) == []


def _keep_semaphores(count: int) -> None:
    workloads.make_semaphores(count)


def _semaphore_sets(count: int) -> list[int]:
    lines = Path("/proc/sysvipc/sem").read_text().splitlines()[1:]
    return [int(line.split()[1]) for line in lines if int(line.split()[3]) == count]


def test_failed_charges(tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """7 requests for an array of order 8 in a cgroup limited to 512 KiB: each is refused by its
    charge, which is too large for the kernel to kill anything for."""
    folder = make_cgroup("limit")
    watched = watch(folder)
    workloads.set_limit(folder, 512 * 1024)
    with workloads.largest_pipe(16384):
        run_in(folder, lambda: workloads.expect_refusals(16384, 7))
    assert watched.row().failed_charges == 7
    assert left(settled(watched, nothing_held)) <= watched.losses()


def test_large_arrays(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 arrays of 20,480 bytes: one block of 8 pages each, freed whole."""
    folder = make_cgroup("arrays")
    watched = watch(folder)
    with workloads.largest_pipe(512), held_in(folder, lambda: workloads.pipes_with_arrays(211, 512)):
        full = at(watched.row(), PIPE_ARRAY)
        assert (full.charged_pages, full.held_pages) == (8 * 211, 8 * 211)
    after = settled(watched, nothing_held)
    assert at(after, PIPE_ARRAY).uncharged_pages == 8 * 211
    assert left(after) <= watched.losses()


def test_shared_pages_end_once(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 pages in two pipes at once: closing the one ends nothing, closing the other all."""
    folder = make_cgroup("shared")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.share_pages(211)):
        shared = at(watched.row(), PIPE_WRITE)
        assert (shared.charged_pages, shared.held_pages) == (211, 211)
    after = settled(watched, nothing_held)
    assert at(after, PIPE_WRITE).uncharged_pages == 211
    assert left(after) <= watched.losses()


def test_lent_pages_are_not_kernel_memory(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """211 pages of a process's own memory in a pipe: charged, but as user memory, and not ours."""
    folder = make_cgroup("lent")
    watched = watch(folder)
    with held_in(folder, lambda: workloads.lend_pages(211)):
        row = watched.row()
        assert 0 < row.held_pages < 211, "its page tables and the pipe's array"
        assert not [s for s in row.sites if s.symbol in PIPE_WRITE]
    assert left(settled(watched, nothing_held)) <= watched.losses()


def test_charge_to_another_cgroup(tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """A BPF map grows by the work of a task in one cgroup, charged to the one it was made in."""
    if kernel_version(tracer) < (5, 11):
        pytest.skip("before 5.11 the kernel charges BPF's memory to no cgroup")
    creator, toucher = make_cgroup("creator"), make_cgroup("toucher")
    legal = exempt(tracer, Exemption.REMOTE)
    charged, working = watch(creator), watch(toucher)
    with held_in(creator, lambda: workloads.touch_anothers_memory(creator, toucher)):
        remote = through(charged.row(), GROWTH)
        assert (remote.charged_pages, remote.held_pages) in {(1009, 1009), (844, 844)}
        row = working.cgroup()
        assert row is None or through(row, GROWTH).charged_pages == 0
        assert exempt(tracer, Exemption.REMOTE) - legal >= 211
    after = settled(charged, nothing_held)
    assert through(after, GROWTH).held_pages <= charged.losses()
    assert left(after) <= charged.losses(), [s for s in after.sites if s.held_pages]
    assert after.mismatches == {} or charged.losses()


def test_old_pages_of_a_removed_cgroup_come_first(
    tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch
) -> None:
    """Of 1,009 pipe pages in a cgroup that is then removed, and 211 younger ones in another."""
    removed, living = make_cgroup("old"), make_cgroup("young")
    with held_in(removed, lambda: workloads.fill_pipes(1009), leave_to=living):
        identifier = removed.stat().st_ino
        removed.rmdir()
        time.sleep(2.0)
        begin = time.monotonic()
        with held_in(living, lambda: workloads.fill_pipes(211)):
            # A second more than the young ones can be old, however long a busy machine took to make them.
            least = time.monotonic() - begin + 1.0
            old = tracer.snapshot(older_than=least).old or ()
        removed.mkdir()  # for the fixture to remove
    mine = [o for o in old if o.key.id == identifier and o.symbol in PIPE_WRITE]
    assert sum(o.pages for o in mine) == 1009
    assert {o.state for o in mine} == {CgroupState.DEAD}
    assert all(least < o.oldest_seconds < least + 30 for o in mine)
    assert all(any("pipe_write" in frame for frame in o.stack) for o in mine)
    states = [o.state for o in old]
    assert states == sorted(states, key=[CgroupState.DEAD, CgroupState.ONLINE].index)
    assert not any(o.path.endswith(living.name) and o.symbol in PIPE_WRITE for o in old)


def kernel_version(tracer: Tracer) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", tracer.snapshot().kernel)[:2])


def test_pages_charged_before_the_start(
    request: pytest.FixtureRequest, tracer: Tracer, early: dict[str, Early], watch: Watch
) -> None:
    """2,003 pipe pages and 101 threads from before the tracer: held from the first snapshot on, to the page,
    until they end, which is no mismatch."""
    mine = early[request.node.callspec.params["tracer"]]
    watched = watch(mine.folder)
    assert tracer.snapshot().preexisting_pages is not None
    row = watched.row()
    found = {s.kind: s.preexisting_pages for s in row.sites if s.preexisting_pages}
    assert row.preexisting_pages == sum(found.values())
    assert found[SiteKind.BEFORE] >= mine.pipe_pages
    assert row.held_pages >= mine.pipe_pages
    assert row.held_pages == row.preexisting_pages + row.charged_pages - row.uncharged_pages
    unmatched = tracer.snapshot().losses.unmatched_frees
    mine.release()
    for _ in range(4):  # a stack that a CPU keeps for the next thread is uncharged and not freed: it is swept
        time.sleep(0.5)
        left = watched.cgroup()
    assert left is None or 0 <= left.held_pages <= watched.losses() + _taken_over(tracer, mine.folder)
    assert tracer.snapshot().losses.unmatched_frees - unmatched <= watched.losses()
    assert certain(tracer) == []


def _taken_over(tracer: Tracer, folder: Path) -> int:
    """Pages of a cgroup's records that the kernel counts to another cgroup now, each looked at.

    Of stacks that a CPU kept and gave to a thread there: charged anew without an allocation, which
    tracepoints do not show.
    """
    number, reading = folder.stat().st_ino, tracer._tables.read()
    mine = reading.charges["cgroup"] == number
    found = tracer._sweeper._inspect(_looks(reading.pages[mine], reading.charges[mine]))
    return int(((found["counted_to"] != 0) & (found["counted_to"] != number)).sum())


def test_kernels_own_figure_brackets_what_was_traced(make_cgroup: MakeCgroup, watch: Watch) -> None:
    """What the kernel's own files say of the cgroup rises by the pages that a workload holds, and by
    the slab and per-CPU memory that it takes beside."""
    folder = make_cgroup("figure")
    watched = watch(folder)
    before = kernel_pages(folder)
    if before is None:
        pytest.skip("memory.stat tells no kernel memory before 5.18")
    with held_in(folder, lambda: workloads.fill_pipes(4099)):
        after = kernel_pages(folder)
        assert after is not None
        held, rise = watched.row().held_pages, after[0] - before[0]
        assert held - after[1] <= rise <= held + 1500 + after[1]


def kernel_pages(folder: Path) -> tuple[int, int] | None:
    """The kernel's figure for a cgroup, and by how many pages it may lag."""
    v1 = folder / "memory.kmem.usage_in_bytes"
    if v1.exists():
        return int(v1.read_text()) // workloads.PAGE, 0
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    if "kernel" not in stat:
        return None
    # Sums of CPUs are brought together when they have changed by more than 64 pages for each CPU.
    return int(stat["kernel"]) // workloads.PAGE, 64 * (os.cpu_count() or 1)


@pytest.mark.own_tracer
@pytest.mark.usefixtures("_able")
def test_kernels_own_total_brackets_what_was_traced(make_cgroup: MakeCgroup) -> None:
    """The kernel's total of the cgroup rises by the pages that a workload holds, and by the slab
    and per-CPU memory that it takes beside: never by less."""
    folder = make_cgroup("total")
    with make_tracer(kernel_total=True) as tracer:
        why = tracer.plan.unseen.get(Unseen.KERNEL_TOTAL)
        if why is not None:
            pytest.skip(why)
        watched = Watched(tracer, folder)
        with held_in(folder, lambda: workloads.fill_pipes(2003)):
            row = watched.row()
            assert row.kernel_pages_change is not None
            assert row.held_pages <= row.kernel_pages_change <= row.held_pages + 1500
        after = settled(watched, nothing_held)
        assert after.kernel_pages_change is not None
        assert after.kernel_pages_change <= 1500


def test_a_call_site_is_told_once_whatever_calls_the_program(
    tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch
) -> None:
    """While the kernel counts what programs take it calls them from another place: another stack, of the same
    call site."""
    folder = make_cgroup("counting")
    watched = watch(folder)
    run_in(folder, lambda: workloads.fill_pipes(97))
    with counting():
        run_in(folder, lambda: workloads.fill_pipes(97))
    row = watched.row()
    told = [(s.kind, s.symbol, s.stack) for s in row.sites]
    assert len(told) == len(set(told)), told
    assert at(row, PIPE_WRITE).charged_pages == 2 * 97


def test_kernels_own_total_is_not_counted_unasked(tracer: Tracer, make_cgroup: MakeCgroup) -> None:
    folder = make_cgroup("total")
    watched = Watched(tracer, folder)
    run_in(folder, lambda: workloads.fill_pipes(11))
    assert watched.row().kernel_pages_change is None
    assert Unseen.KERNEL_TOTAL in tracer.snapshot().unseen
