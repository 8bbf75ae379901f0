"""From findings to mismatches: what is folded, what waits, what is legal after all, how sure it is."""

import time
from typing import Any

import numpy as np
import pytest

from kmemtrace.model.enums import ChargeFlag, End, Exemption, MismatchClass
from kmemtrace.model.enums import SiteKind as Kind
from kmemtrace.tracer.findings import MOST_KINDS
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.stacks import Stack, Stacks
from kmemtrace.tracer.structs import FINDING
from kmemtrace.tracer.verdicts import (
    Sight,
    Verdicts,
    missed_events,
    was_just_found,
)

SECOND = 1_000_000_000
SURE = Sight(uncounted_in_interrupts=False, searched_from=1.0, confirmed_at=None)
UNCOUNTED = Sight(uncounted_in_interrupts=True, searched_from=1.0, confirmed_at=None)
IRQ_STACK, TASK_STACK = 9, 1


class SomeStacks(Stacks):
    def __init__(self) -> None:
        """Needs no map."""

    def __getitem__(self, stack_id: int) -> Stack:
        first = "asm_common_interrupt+0x2" if stack_id == IRQ_STACK else f"caller_{stack_id}+0x1"
        return Stack(Kind.OTHER, "x", (first,) if stack_id >= 0 else ())


def finding(what: MismatchClass = MismatchClass.LOST_UNCHARGE, **fields: Any) -> Records:
    one: Records = np.zeros(1, FINDING)[0]
    known = {
        "page": 64,
        "time": time.monotonic_ns(),
        "charge_time": 2 * SECOND,
        "charged_to": 7,
        "what": what.number,
        "alloc_stack": TASK_STACK,
        "free_stack": 2,
        "comm": b"sh",
    }
    for name, value in (known | {"head": fields.get("page", 64)} | fields).items():
        one[name] = value
    return one


def taken(*found: Records, moves: dict[int, int] | None = None, sight: Sight = SURE) -> Verdicts:
    verdicts = Verdicts(SomeStacks(), {7: "/a", 8: "/b"}.get)
    verdicts.take(found, moves or {}, Missed(), sight)
    return verdicts


def test_alike_findings_are_one_mismatch_with_the_last_ones_evidence() -> None:
    verdicts = taken(finding(page=64), finding(page=128), finding(page=192, free_stack=3))
    assert sorted((m.count, m.page) for m in verdicts.ledger.mismatches) == [(1, 192), (2, 128)]
    assert verdicts.ledger.by_cgroup() == {7: {"lost_uncharge": 3}}
    first = verdicts.ledger.mismatches[-1]
    assert (first.charged_to, first.uncharged_from, first.comm) == ("/a", None, "sh")


def test_kinds_beyond_the_room_are_counted() -> None:
    verdicts = taken(*(finding(free_stack=i) for i in range(10, MOST_KINDS + 15)))
    assert len(verdicts.ledger.mismatches) == MOST_KINDS
    assert verdicts.ledger.unkept == 5


def test_a_cgroup_counts_the_mismatches_that_are_listed_and_no_others() -> None:
    verdicts = taken(*(finding(free_stack=i) for i in range(10, MOST_KINDS + 15)))
    assert verdicts.ledger.by_cgroup() == {7: {"lost_uncharge": MOST_KINDS}}


def test_of_a_cgroup_that_is_gone_the_list_remains_and_no_count() -> None:
    verdicts = taken(finding(), finding(charged_to=8))
    verdicts.forget(7)
    assert verdicts.ledger.by_cgroup() == {8: {"lost_uncharge": 1}}
    assert {m.charged_to for m in verdicts.ledger.mismatches} == {"/a", "/b"}


UNCHARGED = MismatchClass.UNCHARGED_ALLOC


def test_an_uncharged_allocation_waits_until_a_move_would_be_known() -> None:
    now = time.monotonic_ns()
    verdicts = taken(finding(UNCHARGED, time=now, tgid=5))
    assert verdicts.ledger.mismatches == ()
    assert len(taken(finding(UNCHARGED, time=now - 2 * SECOND, tgid=5)).ledger.mismatches) == 1


@pytest.mark.parametrize("apart", [-0.9, 0.0, 0.9])
def test_one_beside_a_change_of_cgroups_is_legal(apart: float) -> None:
    at = time.monotonic_ns() - 5 * SECOND
    verdicts = taken(finding(UNCHARGED, time=at, tgid=5), moves={5: at + int(apart * SECOND)})
    assert verdicts.ledger.mismatches == ()
    assert verdicts.exempted()[Exemption.MOVED] == 1
    other = taken(finding(UNCHARGED, time=at, tgid=6), moves={5: at})
    assert len(other.ledger.mismatches) == 1


def test_one_in_an_interrupt_is_legal() -> None:
    at = time.monotonic_ns() - 5 * SECOND
    verdicts = taken(finding(UNCHARGED, time=at, alloc_stack=IRQ_STACK))
    assert verdicts.ledger.mismatches == ()
    assert verdicts.exempted()[Exemption.INTERRUPT] == 1


FREEING, SPLIT = 4, 2


@pytest.mark.parametrize(
    ("found", "sight", "missed"),
    [
        (finding(time=9 * SECOND), SURE, 0),
        (finding(charge_time=9 * SECOND, time=11 * SECOND), SURE, 3),
        (finding(charge_time=21 * SECOND, time=22 * SECOND), SURE, 0),
        (finding(charge_time=0, time=9 * SECOND), SURE, 0),
        (finding(charge_time=0, time=21 * SECOND), SURE, 3),
        (finding(charge_time=0, time=22 * SECOND), Sight(False, 20.0, None), 0),
        (finding(UNCHARGED, charge_time=0, time=21 * SECOND), SURE, 0),
        (finding(time=9 * SECOND, interrupt=1), SURE, 0),
        (finding(time=9 * SECOND), UNCOUNTED, 0),
        (finding(time=9 * SECOND, interrupt=1), UNCOUNTED, 1),
        (finding(time=9 * SECOND, end=End.HEALED), UNCOUNTED, 1),
        (finding(time=9 * SECOND, flags=FREEING), UNCOUNTED, 1),
        (finding(time=9 * SECOND, flags=SPLIT), UNCOUNTED, 1),
    ],
)
def test_what_was_missed_meanwhile(found: Records, sight: Sight, missed: int) -> None:
    """Three events between 10 and 20 s."""
    counts = Missed()
    for at, count in ((1.0, 0), (10.0, 0), (20.0, 3), (30.0, 3)):
        counts.note(at, count)
    assert missed_events(found, counts, sight) == missed


def test_confidence_and_order() -> None:
    counts = Missed()
    for at, count in ((1.0, 0), (10.0, 0), (20.0, 3), (30.0, 3)):
        counts.note(at, count)
    verdicts = Verdicts(SomeStacks(), {7: "/a"}.get)
    suspect = finding(charge_time=9 * SECOND, time=25 * SECOND)
    certain = finding(charge_time=21 * SECOND, time=22 * SECOND, alloc_stack=5)
    verdicts.take([suspect, certain], {}, counts, SURE)
    assert [(m.confidence, m.missed_events) for m in verdicts.ledger.mismatches] == [
        ("certain", 0),
        ("suspect", 3),
    ]


def test_costs_add_up_and_what_suspects_cost_is_in_doubt() -> None:
    counts = Missed()
    for at, count in ((1.0, 0), (10.0, 0), (20.0, 3), (30.0, 3)):
        counts.note(at, count)
    verdicts = Verdicts(SomeStacks(), {7: "/a"}.get)
    certain = finding(
        charge_time=21 * SECOND, time=22 * SECOND, lost=7, order=3, head=8, page=12, end_order=2
    )
    suspect = finding(charge_time=9 * SECOND, time=25 * SECOND, lost=2, taken=1)
    verdicts.take([certain, certain, suspect], {}, counts, SURE)
    first, second = verdicts.ledger.mismatches
    assert (first.lost_pages, first.taken_pages, second.lost_pages, second.taken_pages) == (14, 0, 2, 1)
    assert (first.page, first.charged_pages, first.ended_page, first.ended_pages) == (8, 8, 12, 4)
    assert verdicts.doubtful == {(7, TASK_STACK): 2}
    verdicts.forget(7)
    assert verdicts.doubtful == {}


def test_an_uncharged_allocation_has_no_end_and_a_stray_uncharge_no_charge() -> None:
    at = time.monotonic_ns() - 5 * SECOND
    (unmarked,) = taken(finding(UNCHARGED, charge_time=0, time=at, end=End.NONE)).ledger.mismatches
    assert (unmarked.charged_pages, unmarked.ended_page, unmarked.ended_pages) == (0, None, None)
    stray = finding(MismatchClass.STRAY_UNCHARGE, charge_time=0, end=End.UNCHARGE, end_order=1, taken=2)
    (found,) = taken(stray).ledger.mismatches
    assert (found.charged_pages, found.ended_pages, found.taken_pages) == (0, 2, 2)


def test_every_class_and_end_has_words() -> None:
    for what in MismatchClass:
        for end in End:
            if end in (End.SWEPT, End.NONE) and what is not UNCHARGED:
                continue  # no finding ends so
            for mismatch in taken(finding(what, end=end.value, time=9 * SECOND)).ledger.mismatches:
                assert mismatch.events[-1]


@pytest.mark.parametrize(
    ("flags", "confirmed_at", "just_found"),
    [
        (ChargeFlag.BEFORE, None, True),
        (ChargeFlag.BEFORE, 21.0, True),
        (ChargeFlag.BEFORE, 19.0, False),
        (0, None, False),
    ],
)
def test_what_was_found_before_is_judged_once_it_is_confirmed(
    flags: int, confirmed_at: float | None, just_found: bool
) -> None:
    sight = Sight(uncounted_in_interrupts=False, searched_from=1.0, confirmed_at=confirmed_at)
    assert was_just_found(finding(flags=flags, time=20 * SECOND), sight) is just_found
