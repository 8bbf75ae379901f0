"""Lays out what was learned of return addresses in the way that the programs look it up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kmemtrace.tracer.capacity import WALK_RUN, WALK_WAYS
from kmemtrace.tracer.lessons import END, Learned
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.spread import first_place
from kmemtrace.tracer.structs import HOP

_LEAST_RUN = 2


@dataclass(frozen=True, slots=True)
class Hop:
    """What the programs are told of one return address (struct hop in probes/walk.h)."""

    address: int = 0
    step: int = 0
    run: tuple[tuple[int, int], ...] = ()
    """The addresses that always come next, each with how many words after this one it lies."""
    next: int = 0
    """The place of the last of them, or of what comes next if there is no run; a guess."""

    def element(self) -> Records:
        """Returns it as it is in the map."""
        element = np.zeros(1, HOP)
        element["address"], element["step"], element["next"] = self.address, self.step, self.next
        if self.run:
            addresses, at = zip(*self.run, *self.run[-1:] * (WALK_RUN - len(self.run)), strict=True)
            element["run"][0], element["at"][0], element["frames"] = addresses, at, len(self.run)
        return element


def laid_out(learned: Mapping[int, Learned]) -> dict[int, Hop]:
    """Returns what there is to tell of all addresses by place; what a bucket has no room for is left out."""
    steps = {address: step for address, one in learned.items() if (step := one.step)}
    places = places_of(steps)
    following = {
        address: next(iter(one.following)) for address, one in learned.items() if len(one.following) == 1
    }
    hops = {}
    for address, place in places.items():
        run = _run(address, steps, following, places)
        after = run[-1][0] if run else following.get(address, 0)
        told = run if len(run) >= _LEAST_RUN else ()
        hops[place] = Hop(address, steps[address], told, places.get(after, 0))
    return hops


def places_of(addresses: Iterable[int]) -> dict[int, int]:
    """Returns the place of each address that there is room for."""
    places: dict[int, int] = {}
    taken: dict[int, int] = {}
    for address in sorted(addresses):
        first = first_place(address)
        used = taken.get(first, 0)
        if used < WALK_WAYS:
            places[address], taken[first] = first + used, used + 1
    return places


def _run(
    address: int, steps: Mapping[int, int], following: Mapping[int, int], places: Mapping[int, int]
) -> tuple[tuple[int, int], ...]:
    run: list[tuple[int, int]] = []
    at = 0
    while len(run) < WALK_RUN and 0 < steps[address] < END and following.get(address) in places:
        at += steps[address]
        address = following[address]
        run.append((address, at))
    return tuple(run)
