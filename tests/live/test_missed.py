"""What is made of events that were missed. How many the kernel skipped is made up here, for nobody can have
it skip some; all else is this host's kernel's."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmemtrace.census.census import Censor
from kmemtrace.cgroups.workload import WorkloadCgroup
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.session import make_tracer
from kmemtrace.model.census import Census
from kmemtrace.model.enums import Loss
from kmemtrace.model.verification import Verdict, Verification
from kmemtrace.report.verification import report
from kmemtrace.tracer.loss_count import LossCount
from kmemtrace.tracer.maps import ArrayMap
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.structs import ID
from kmemtrace.verification.verifier import Verifier

pytestmark = [pytest.mark.own_tracer, pytest.mark.usefixtures("_able")]

PAGES = 997
ROOT = Path(__file__).parents[2]
PIPES = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r});"
    "from tests.live.workloads import drain_pipes, fill_pipes;"
    f"drain_pipes(fill_pipes({PAGES}))"
)


def verify() -> Verification:
    """Of a command that fills pipes and drains them."""
    verifier = Verifier(make_tracer, open_censor, drain_seconds=3)
    return verifier.of_command([sys.executable, "-c", PIPES])


@pytest.fixture
def skip(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Has a program be skipped so often more, once the command is through."""
    wanted, told = dict[str, int](), dict[str, int]()
    misses, kill = LossCount._misses, WorkloadCgroup.kill

    def more(losses: LossCount) -> dict[str, int]:
        found = misses(losses) or {}
        return {name: found.get(name, 0) + told.get(name, 0) for name in (*found, *told)}

    def through(cgroup: WorkloadCgroup) -> None:
        told.update(wanted)
        kill(cgroup)

    monkeypatch.setattr(LossCount, "_misses", more)
    monkeypatch.setattr(WorkloadCgroup, "kill", through)
    return lambda program, times: wanted.update({program: times})


def test_what_was_missed_is_settled_by_an_exact_account(skip: Callable[[str, int], None]) -> None:
    skip("page_free", 1013)
    found = verify()
    assert found.missed_events >= 1013
    assert found.account is not None
    assert found.account.exact, found.account
    assert found.verdict is Verdict.BALANCED, report(found)
    assert f"settles {found.settled_events:,} of the missed events" in report(found)


def test_allocations_that_only_interrupts_make_meanwhile_are_charged_to_nobody(
    skip: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmemtrace.kernel.planning.raw_programs_are_preempted", lambda _: False)
    skip("page_alloc", 13)
    found = verify()
    assert found.missed_events >= 13
    assert found.unsettled_events == 0
    assert found.verdict is Verdict.BALANCED, report(found)


def test_allocations_of_tasks_that_were_missed_are_not_settled(
    skip: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody was charged for leaves nothing behind."""
    monkeypatch.setattr("kmemtrace.kernel.planning.raw_programs_are_preempted", lambda _: True)
    skip("page_alloc", 13)
    found = verify()
    assert found.account is not None
    assert found.account.exact, found.account
    assert found.unsettled_events >= 13
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"of the other {found.unsettled_events:,} it tells nothing" in report(found)


def test_an_account_that_is_off_by_a_page_settles_nothing(
    skip: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lost uncharge leaves it: the kernel's count is too high."""
    take = Censor.take

    def lost(censor: Censor) -> Census:
        census = take(censor)
        counted = [
            dataclasses.replace(
                one, account=dataclasses.replace(one.account, kernel_bytes=one.account.kernel_bytes + 4096)
            )
            for one in census.cgroups
            if one.account.kernel_bytes is not None
        ]
        return dataclasses.replace(census, cgroups=tuple(counted))

    monkeypatch.setattr(Censor, "take", lost)
    monkeypatch.setattr("kmemtrace.verification.account._PAUSE_SECONDS", 0.1)
    skip("page_free", 13)
    found = verify()
    assert found.settled_events == 0
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the cgroup's account, which settles nothing" in report(found)


def test_ends_of_charges_that_began_before_the_start_were_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit of a charge is probed before its entry: of all that end in between no entry was seen."""
    attach = Programs.attach

    def busy(programs: Programs) -> float:
        began = attach(programs)
        unpaired(programs, 1651)
        return began

    def unpaired(programs: Programs, count: int) -> None:
        losses = ArrayMap(programs.map_fd("losses"), ID)
        losses[Loss.UNPAIRED.value] = losses[Loss.UNPAIRED.value] + np.array([count], "u8")

    monkeypatch.setattr(Programs, "attach", busy)
    with make_tracer() as tracer:
        before = tracer.snapshot().losses
        assert before.unpaired < 1651
        unpaired(tracer._programs, 7)
        assert tracer.snapshot().losses.unpaired - before.unpaired >= 7
