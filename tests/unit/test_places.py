"""Sums as they are read of their places: each key once, and those of call sites in those of their cgroup."""

import mmap
import os
import signal
import time
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.model.enums import StackId
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.places import Places, added_up
from kmemtrace.tracer.structs import ID, SITE, SITE_KEY, totals_dtype
from kmemtrace.tracer.tables import add_sites

TOTALS = totals_dtype(())
ROOM = 8


class Maps:
    """Arrays as a kernel would map them."""

    def __init__(self) -> None:
        self.all: dict[str, mmap.mmap] = {}

    def mapped(self, name: str, size: int) -> mmap.mmap:
        return self.all.setdefault(name, mmap.mmap(-1, size))

    def map_fd(self, name: str) -> int:
        return -len(name)  # of no map

    def array(self, name: str, dtype: np.dtype[Any]) -> Records:
        return np.frombuffer(self.all[name], dtype)


def sites(*rows: tuple[int, int, int, int, int]) -> tuple[Records, Records]:
    """Of each: cgroup, stack, pages charged, uncharged and lost."""
    keys = np.array([(cgroup, stack, 1) for cgroup, stack, *_ in rows], SITE_KEY)
    return keys, np.array([tuple(row[2:]) for row in rows], SITE)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-1, 2), st.integers(0, 1 << 40)), max_size=9))
def test_what_is_counted_in_two_places_is_added_up(rows: list[tuple[int, int, int]]) -> None:
    keys, sums = added_up(*sites(*((cgroup, stack, n, 2 * n, 3 * n) for cgroup, stack, n in rows)))
    expected: dict[tuple[int, int], int] = {}
    for cgroup, stack, n in rows:
        expected[cgroup, stack] = expected.get((cgroup, stack), 0) + n
    found = [(int(k["cgroup"]), int(k["stack"])) for k in keys]
    assert found == list(expected)
    assert [tuple(map(int, one)) for one in sums] == [(n, 2 * n, 3 * n) for n in expected.values()]


def test_a_place_given_back_is_read_no_more_and_clean() -> None:
    maps = Maps()
    places = Places(maps, "site", SITE_KEY, SITE, ROOM)
    keys, sums = maps.array("site_keys", SITE_KEY), maps.array("sites", SITE)
    for at, (cgroup, stack) in enumerate([(7, 0), (9, 0), (7, 3)]):
        keys[at], sums[at] = (cgroup, stack, 1), (11, 5, 1)
    keys[5]["cgroup"] = 9  # the other word of the key is not there yet
    assert places.read()[0]["cgroup"].tolist() == [7, 9, 7]
    places.forget(np.array([7], ID))
    assert places.read()[0]["cgroup"].tolist() == [9]
    assert not sums[[0, 2]].view("u8").any()
    assert not keys[[0, 2]].view("u8").any()


def test_a_cgroup_has_what_its_call_sites_have_and_what_is_counted_at_none() -> None:
    ids, totals = np.array([7, 3, 5], ID), np.zeros(3, TOTALS)
    totals["charged"], totals["uncharged"], totals["before"] = [100, 0, 0], [50, 0, 0], [0, 19, 0]
    of_sites = sites(
        (3, 1, 11, 2, 1), (7, 1, 13, 3, 0), (3, int(StackId.BEFORE), 19, 17, 0), (9, 1, 23, 0, 0)
    )
    add_sites((ids, totals), of_sites)
    assert totals["charged"].tolist() == [113, 11, 0], "those from before were not charged since"
    assert totals["uncharged"].tolist() == [53, 19, 0]
    assert totals["lost"].tolist() == [0, 1, 0]
    assert totals["before"].tolist() == [0, 19, 0]


def test_keys_that_are_entered_meanwhile_are_no_matter() -> None:
    maps, room = Maps(), 1 << 14
    places = Places(maps, "cgroup", ID, TOTALS, room)
    keys = maps.array("cgroup_keys", ID)
    writer = os.fork()
    if writer == 0:
        while True:
            for number in (5, 1 << 40):
                keys[room:] = number
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            places.forget(np.arange(2, 1000, 4, dtype=ID))
            assert set(places.read()[0].tolist()) <= {5, 1 << 40}
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
