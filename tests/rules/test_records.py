"""The table of records under threads that use it at once."""

import ctypes
from pathlib import Path

import pytest

from tests.rules.machine import compiled, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")


@pytest.fixture(scope="module")
def threads() -> ctypes.CDLL:
    library = compiled(Path(__file__).with_name("records.cpp"), "records.h", 64)
    library.close_each_once.restype = ctypes.c_int64
    library.charge_while_searched.restype = library.without_room.restype = ctypes.c_uint64
    return library


@pytest.mark.parametrize("seed", range(3))
def test_each_record_is_closed_by_one(threads: ctypes.CDLL, seed: int) -> None:
    assert threads.close_each_once(ctypes.c_uint64(seed), ctypes.c_uint64(300_000)) == 0


def test_a_page_that_is_charged_while_it_is_found_has_one_record(threads: ctypes.CDLL) -> None:
    assert threads.charge_while_searched(ctypes.c_uint64(400_000)) == 0


@pytest.mark.parametrize("order", range(7))
def test_blocks_side_by_side_have_room_in_half_of_the_table(threads: ctypes.CDLL, order: int) -> None:
    """In buckets of four: of pages that lie anywhere one in 28 would have none."""
    places = 64 * 4
    assert threads.without_room(ctypes.c_uint64(places // 2), ctypes.c_uint64(1 << order)) == 0
