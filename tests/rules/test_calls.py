"""Calls that are under way at once, by threads."""

import ctypes
import functools
from pathlib import Path

import pytest

from tests.rules.machine import compiled, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")

THREADS, ROUNDS = 3, 100_000


class Outcome(ctypes.Structure):
    _fields_ = (
        ("ended", ctypes.c_uint64),
        ("unpaired", ctypes.c_uint64),
        ("anothers", ctypes.c_uint64),
    )


@functools.cache
def library(buckets: int) -> ctypes.CDLL:
    return compiled(Path(__file__).with_name("calls.cpp"), "calls.h", buckets)


def outcome(buckets: int, depth: int) -> Outcome:
    found = Outcome()
    library(buckets).call_at_once(
        *(ctypes.c_uint64(number) for number in (THREADS, depth, ROUNDS)), ctypes.byref(found)
    )
    return found


@pytest.mark.parametrize("buckets", [0, 64])
def test_each_exit_has_what_its_own_entry_left(buckets: int) -> None:
    found = outcome(buckets, depth=1)
    assert (found.ended + found.unpaired, found.anothers) == (THREADS * ROUNDS, 0)
    # In buckets, whoever wants a place, and whom others forestall at two of them, gets none: hardly ever.
    assert found.unpaired <= (THREADS * ROUNDS // 10_000 if buckets else 0)


def test_where_more_are_under_way_than_there_are_places_none_has_anothers() -> None:
    found = outcome(64, depth=8)
    assert found.anothers == 0
    assert found.unpaired > 0
    assert found.ended > 0


def test_a_call_whose_last_exit_was_missed_takes_its_own_place() -> None:
    assert library(64).miss_an_exit() == 2
