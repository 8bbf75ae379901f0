"""How what was learned of return addresses is laid out: the places of the addresses, and their runs."""

import itertools

import pytest

from kmemtrace.tracer.capacity import WALK_HOPS, WALK_RUN, WALK_WAYS
from kmemtrace.tracer.hops import Hop, laid_out, places_of
from kmemtrace.tracer.lessons import END, REGISTERS, Learned
from kmemtrace.tracer.spread import first_place

A, B, C, D, E, F = range(0xA0, 0xA6)


Told = tuple[int, list[int]]
"""The step of an address, and which come next."""


def learned(told: dict[int, Told]) -> dict[int, Learned]:
    """What is learned, by address."""
    found = {}
    for address, (step, following) in told.items():
        ends = {step} if step in (END, REGISTERS) else {0}
        found[address] = Learned(9, {step} if step < END else set(), {0}, set(following), ends)
    return found


def runs(of: dict[int, Learned]) -> dict[int, tuple[tuple[int, int], ...]]:
    return {hop.address: hop.run for hop in laid_out(of).values()}


def test_a_run_has_what_always_comes_next() -> None:
    found = runs(learned({A: (9, [B]), B: (12, [C]), C: (5, [D]), D: (END, [])}))
    assert found == {A: ((B, 9), (C, 21), (D, 26)), B: ((C, 12), (D, 17)), C: (), D: ()}


def test_a_run_has_so_many_addresses_at_most() -> None:
    chain: dict[int, Told] = {A: (1, [B]), B: (2, [C]), C: (3, [D]), D: (4, [E]), E: (5, [F]), F: (END, [])}
    found = runs(learned(chain))
    assert found[A] == ((B, 1), (C, 3), (D, 6), (E, 10))
    assert max(map(len, found.values())) == WALK_RUN


@pytest.mark.parametrize(
    ("told", "run"),
    [
        ((12, [C, D]), ()),  # two come after it: what comes next is to be looked at
        ((END, [C]), ()),
        ((REGISTERS, [C]), ()),
        ((12, [E]), ()),  # of which nothing is known
        ((12, [C]), ((B, 9), (C, 21))),
    ],
)
def test_a_run_ends_where_one_cannot_be_sure(told: Told, run: tuple[tuple[int, int], ...]) -> None:
    assert runs(learned({A: (9, [B]), B: told, C: (5, [D, E]), D: (END, [])}))[A] == run


def test_each_knows_where_the_last_of_its_run_is_or_what_comes_next() -> None:
    of = learned({A: (9, [B]), B: (12, [C]), C: (5, [D, E]), D: (END, [])})
    places = places_of(of)
    hops = laid_out(of)
    assert {hop.address: hop.next for hop in hops.values()} == {A: places[C], B: places[C], C: 0, D: 0}
    assert {place: hop.address for place, hop in hops.items()} == {places[one]: one for one in of}


def test_an_element_of_a_short_run_has_its_last_again() -> None:
    (element,) = Hop(A, 9, ((B, 9), (C, 21)), 7).element()
    assert (element["address"], element["step"], element["next"], element["frames"]) == (A, 9, 7, 2)
    assert list(element["run"]) == [B, C, C, C]
    assert list(element["at"]) == [9, 21, 21, 21]
    (single,) = Hop(A, 9).element()
    assert single["frames"] == 0


def test_a_bucket_that_is_full_leaves_the_others_out() -> None:
    by_place = itertools.groupby(sorted(range(1, 1 << 16), key=first_place), key=first_place)
    place, clashing = max(((at, sorted(group)) for at, group in by_place), key=lambda one: len(one[1]))
    assert len(clashing) > WALK_WAYS
    assert places_of(clashing) == {one: place + way for way, one in enumerate(clashing[:WALK_WAYS])}


@pytest.mark.parametrize("address", [1, (1 << 64) - 1, 1 << 63, 0xFFFFFFFF81000000])
def test_each_address_has_a_place_in_the_map(address: int) -> None:
    assert 0 <= first_place(address) <= (WALK_HOPS - 1) * WALK_WAYS
