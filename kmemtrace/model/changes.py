"""Tells two moments apart by the objects in them: what nothing happened to is the same object in both."""

from collections.abc import Sequence
from typing import TypeVar

_Thing = TypeVar("_Thing")


def changes(before: Sequence[_Thing], now: Sequence[_Thing]) -> tuple[list[_Thing], list[_Thing]]:
    """Returns what is in one of two sequences alone, the earlier first, each in its order there."""
    if before is now:
        return [], []
    old, new = set(map(id, before)), set(map(id, now))
    return [one for one in before if id(one) not in new], [one for one in now if id(one) not in old]
