"""Keeps a list in order while some of it go and others come."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

_Thing = TypeVar("_Thing")


def exchanged(
    ordered: list[_Thing], out: Iterable[_Thing], into: Iterable[_Thing], key: Callable[[_Thing], Any]
) -> list[_Thing]:
    """Returns a list in order, which costs as many comparisons as things change places.

    Args:
        ordered: A list in order.
        out: Things in it that are left out.
        into: Things that are put in.
        key: What they are ordered by, which is another one in each.
    """
    kept: list[_Thing] = []
    begin = 0
    for at in sorted(bisect_left(ordered, key(one), key=key) for one in out):
        kept += ordered[begin:at]
        begin = at + 1
    kept += ordered[begin:]
    found: list[_Thing] = []
    begin = 0
    for one in sorted(into, key=key):
        at = bisect_left(kept, key(one), begin, key=key)
        found += kept[begin:at]
        found.append(one)
        begin = at
    return found + kept[begin:]
