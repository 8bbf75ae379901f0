"""Tells two moments apart by the objects in them: what nothing happened to is the same object in both."""

from collections.abc import Sequence
from itertools import compress, filterfalse
from operator import is_not
from typing import TypeVar

_Thing = TypeVar("_Thing")


def changes(before: Sequence[_Thing], now: Sequence[_Thing]) -> tuple[list[_Thing], list[_Thing]]:
    """Returns what is in one of two sequences alone, the earlier first, each in its order there.

    No object is twice in one of them.
    """
    if before is now:
        return [], []
    # First those are left out that have kept their places, which takes a tenth of what follows.
    moved = list(map(is_not, before, now))
    old, new = _by_identity(before, moved), _by_identity(now, moved)
    left = map(old.__getitem__, filterfalse(new.__contains__, old))
    come = map(new.__getitem__, filterfalse(old.__contains__, new))
    return list(left), list(come)


def _by_identity(things: Sequence[_Thing], moved: list[bool]) -> dict[int, _Thing]:
    """Returns those that are not at the same place in the other sequence, which may be the shorter one."""
    apart = [*compress(things, moved), *things[len(moved) :]]
    return dict(zip(map(id, apart), apart, strict=True))
