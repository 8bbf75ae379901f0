"""The account of a verified cgroup, from a census."""

import dataclasses

import pytest

from kmemtrace.model.account import Account
from kmemtrace.model.census import Counted
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import CgroupKey
from kmemtrace.verification.account import account_of

PAGE = 4096
EXACT = Account(
    kernel_bytes=10 * PAGE,
    pages_bytes=7 * PAGE,
    page_tables_bytes=PAGE,
    slab_bytes=2 * PAGE,
    caches=(),
    percpu_bytes=1000,
    zswap_bytes=0,
    ahead_bytes=PAGE - 1000,
    moved_bytes=0,
    doubtful_bytes=0,
)


def counted(number: int, path: str, **changes: int | None) -> Counted:
    account = dataclasses.replace(EXACT, **changes)  # type: ignore[arg-type]
    return Counted(CgroupKey(1, number), path, CgroupState.ONLINE, account)


OTHERS = (counted(1, "/", kernel_bytes=0), counted(9, "/mine-too", kernel_bytes=0))
"""Whose accounts are off; the second's path begins as ours does."""


def test_what_is_charged_is_what_is_there() -> None:
    reading = account_of([*OTHERS, counted(7, "/mine"), counted(8, "/mine/below")], 7, held_pages=14)
    assert (reading.charged_bytes, reading.explained_bytes) == (20 * PAGE, 20 * PAGE)
    assert reading.exact


@pytest.mark.parametrize(
    "off",
    [
        [counted(7, "/mine", kernel_bytes=11 * PAGE)],  # a page that was lost
        [counted(7, "/mine", kernel_bytes=9 * PAGE)],  # a page uncharged that was not charged
        [counted(7, "/mine", ahead_bytes=PAGE - 1001)],  # held ahead by a CPU
        [counted(7, "/mine", pages_bytes=6 * PAGE, doubtful_bytes=PAGE)],
        [counted(7, "/mine", doubtful_bytes=PAGE)],
        [counted(7, "/mine", moved_bytes=PAGE)],
        # What one lost the other has: together they add up.
        [counted(7, "/mine", kernel_bytes=11 * PAGE), counted(8, "/mine/below", kernel_bytes=9 * PAGE)],
    ],
)
def test_what_is_off_settles_nothing(off: list[Counted]) -> None:
    reading = account_of([*OTHERS, *off], 7, held_pages=3)
    assert not reading.exact
    assert reading.refusal is None


def test_blocks_are_no_larger_where_as_many_pages_are_held_as_were_found() -> None:
    mine = [*OTHERS, counted(7, "/mine", doubtful_bytes=PAGE)]
    assert account_of(mine, 7, held_pages=7).exact
    assert not account_of(mine, 7, held_pages=8).exact
    moved = counted(7, "/mine", doubtful_bytes=PAGE, moved_bytes=PAGE)
    assert not account_of([*OTHERS, moved], 7, held_pages=7).exact


@pytest.mark.parametrize(
    ("unread", "reason"),
    [
        (counted(7, "/mine", kernel_bytes=None), "does not tell"),
        (counted(7, "/mine", percpu_bytes=None), "not all"),
        (counted(7, "/mine", zswap_bytes=None), "not all"),
        (counted(5, "/mine"), "did not find"),
    ],
)
def test_what_could_not_be_read_settles_nothing(unread: Counted, reason: str) -> None:
    reading = account_of([*OTHERS, unread], 7, held_pages=7)
    assert not reading.exact
    assert reason in (reading.refusal or "")
