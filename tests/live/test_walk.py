"""Call sites that are told by what was learned of return addresses, held against the kernel's own walk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmemtrace.commands.session import make_tracer
from kmemtrace.kernel.symbols import Code, Symbols
from kmemtrace.model.enums import Tier
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.test_workloads import PIPE_WRITE
from tests.tracing import new_cgroup

_PAGES = 4001


@pytest.fixture(scope="module", params=["loads", "helpers"])
def learner(tracer: Tracer, request: pytest.FixtureRequest) -> Iterator[Tracer]:
    """Has each stack that it knows walked by the kernel, too."""
    tier, helpers = tracer.plan.tier, request.param == "helpers"
    if helpers and tier is not Tier.TRACEPOINT:
        pytest.skip("what is read by helpers is the same in all tiers")
    with make_tracer(tier, walk_checks=1, helpers=helpers) as learner:
        if learner.plan.walked is not None:
            pytest.skip(learner.plan.walked)
        if learner.plan.loads == helpers:
            pytest.skip("this kernel does not let programs load its memory")
        yield learner


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = new_cgroup("walk")
    yield folder
    folder.rmdir()


def mixed() -> None:
    """Charges by several paths through the kernel, and to its end."""
    workloads.drain_pipes(workloads.fill_pipes(_PAGES))
    workloads.fork_children(7)
    workloads.send_messages(31, 8192)
    workloads.touch_sparsely(53)
    workloads.run_threads(11)


def fork_large() -> None:
    """Charges many page tables by one path, before anything else."""
    memory = workloads.touch_sparsely(311)
    workloads.fork_children(3)
    workloads.drain_pipes(workloads.fill_pipes(_PAGES))
    memory.close()


def taught(tracer: Tracer, folder: Path, rounds: int = 4, work: Callable[[], object] = mixed) -> Snapshot:
    for _ in range(rounds):
        workloads.run_in(folder, work)
        snapshot = tracer.snapshot()
    return snapshot


def checked(snapshot: Snapshot) -> int:
    count = snapshot.losses.checked_stacks
    assert count is not None
    return count


def pipe_pages(snapshot: Snapshot, folder: Path) -> int:
    rows = [c for c in snapshot.cgroups if c.key.id == folder.stat().st_ino]
    return sum(s.charged_pages for c in rows for s in c.sites if s.symbol in PIPE_WRITE)


def counted_exactly(tracer: Tracer, folder: Path) -> tuple[Snapshot, Snapshot]:
    """Holds the pages of pipes against what is done; returns the Snapshots before and after it."""
    before = taught(tracer, folder)
    after = taught(tracer, folder, 1)
    missed = after.losses.page_events_missed - before.losses.page_events_missed
    charged = pipe_pages(after, folder) - pipe_pages(before, folder)
    assert _PAGES - missed <= charged <= _PAGES
    assert after.losses.unknown_stacks == before.losses.unknown_stacks
    return before, after


def test_sites_are_counted_exactly_as_is_by_default(tracer: Tracer, folder: Path) -> None:
    before, after = counted_exactly(tracer, folder)
    assert after.losses.wrong_stacks == before.losses.wrong_stacks


@pytest.mark.own_tracer
def test_sites_are_counted_exactly_by_the_kernels_walk(folder: Path) -> None:
    with make_tracer(Tier.TRACEPOINT, walks=True) as tracer:
        _, after = counted_exactly(tracer, folder)
    assert (after.losses.checked_stacks, after.losses.wrong_stacks) == (None, None)


@pytest.mark.own_tracer
def test_a_path_has_one_stack_wherever_its_program_is_run_from(learner: Tracer, folder: Path) -> None:
    before = taught(learner, folder)
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    was = switch.read_text()
    try:
        for value in "1010":
            switch.write_text(value)
            after = taught(learner, folder, 1)
    finally:
        switch.write_text(was)
    assert after.losses.wrong_stacks == before.losses.wrong_stacks
    assert checked(after) > checked(before) + 4 * _PAGES


@pytest.mark.own_tracer
def test_sites_are_counted_exactly_by_what_was_learned(learner: Tracer, folder: Path) -> None:
    before, after = counted_exactly(learner, folder)
    assert checked(after) > checked(before)
    assert after.losses.wrong_stacks == before.losses.wrong_stacks


@pytest.mark.own_tracer
def test_what_was_learned_is_what_the_kernel_walks(learner: Tracer, folder: Path) -> None:
    before = taught(learner, folder)
    after = taught(learner, folder, 3)
    each = checked(after) - checked(before)
    assert after.losses.wrong_stacks == 0
    assert each > 3 * _PAGES


@pytest.mark.own_tracer
def test_one_path_leaves_room_for_lessons_of_the_others(learner: Tracer, folder: Path) -> None:
    before = taught(learner, folder, 3, fork_large)
    after = taught(learner, folder, 1, fork_large)
    assert checked(after) > checked(before) + _PAGES
    assert after.losses.wrong_stacks == 0


@pytest.mark.own_tracer
def test_a_module_that_comes_or_goes_has_all_learned_anew(
    learner: Tracer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = taught(learner, folder)
    code = Symbols.code

    def another(symbols: Symbols) -> Code:
        found = code(symbols)
        return Code(found.own, found.modules, found.listing + b"\nanother 4096 0x0")

    monkeypatch.setattr(Symbols, "code", another)
    begin = learner.snapshot()  # notices it
    workloads.run_in(folder, mixed)
    after = learner.snapshot()
    # What others charge is known until this is told, a moment after the Snapshot's reading.
    assert checked(after) < checked(begin) + _PAGES
    again = taught(learner, folder, 5)
    assert checked(again) > checked(after) >= checked(before)
    assert again.losses.wrong_stacks == 0
