"""The places of sums under threads that count at once, and when all are taken."""

import ctypes
from pathlib import Path

import pytest

from tests.rules.machine import compiled, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")


@pytest.fixture
def sums() -> ctypes.CDLL:
    library = compiled(Path(__file__).with_name("sums.cpp"), "sums.h", 0)
    library.count_each_once.restype = ctypes.c_int64
    for name in ("enter", "refused", "room"):
        getattr(library, name).restype = ctypes.c_uint64
    return library


def test_all_that_was_counted_is_there_when_places_are_given_back_meanwhile(sums: ctypes.CDLL) -> None:
    twice = ctypes.c_uint64()
    assert sums.count_each_once(ctypes.c_uint64(7), ctypes.c_uint64(20_000), ctypes.byref(twice)) == 0
    assert twice.value, "else nothing was put to the test"


@pytest.mark.parametrize("apart", [1, 2, 3, 29, 31, 32, 47, 64, 89, 4096])
def test_each_cgroup_that_there_is_room_for_has_a_place(sums: ctypes.CDLL, apart: int) -> None:
    """A cgroup takes as many ids as it has files."""
    room = sums.room()
    assert sums.enter(ctypes.c_uint64(room), ctypes.c_uint64(apart)) == room
    assert sums.refused() == 0


def test_those_there_is_no_room_for_are_counted(sums: ctypes.CDLL) -> None:
    room = sums.room()
    assert sums.enter(ctypes.c_uint64(room + 13), ctypes.c_uint64(1)) == room
    assert sums.refused() == 13
