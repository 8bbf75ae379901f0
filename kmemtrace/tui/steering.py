"""Says what keys do to the view: from one View to the next."""

import dataclasses
from collections.abc import Iterable, Sequence

from kmemtrace.model.row import Fold, Row
from kmemtrace.model.view import Place, SortKey, View

_INTERVALS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)


def sorted_beside(view: View, shown: Sequence[SortKey], by: int) -> View:
    """Sorts by the column `by` places to the right of the present one, among those on the screen."""
    if not shown:
        return view
    at = shown.index(view.sort) + by if view.sort in shown else 0
    return dataclasses.replace(view, sort=shown[at % len(shown)], reverse=False)


def sorted_by(view: View, sort: SortKey) -> View:
    """Sorts by a column; the same column a second time: the other way round."""
    return dataclasses.replace(view, sort=sort, reverse=view.sort is sort and not view.reverse)


def filtered(view: View, text: str) -> View:
    """Filters the rows; what another filter finds is all to be seen."""
    return view if text == view.filter else dataclasses.replace(view, filter=text, closed=frozenset())


def folded(view: View, place: Place, table: Iterable[Row], *, opened: bool) -> View:
    if view.narrowed:
        closed = view.closed - {place} if opened else view.closed | {place}
        return dataclasses.replace(view, closed=closed)
    are = view.opened
    if are is None:
        are = frozenset(row.place for row in table if row.fold is Fold.OPEN)
    return dataclasses.replace(view, opened=are | {place} if opened else are - {place})


def all_folded(view: View, table: Iterable[Row]) -> View:
    """Opens all, or, where all are open, closes all but the roots."""
    if view.narrowed:
        below = frozenset(r.place for r in table if r.depth and r.fold is not Fold.LEAF)
        return dataclasses.replace(view, closed=frozenset() if view.closed else below)
    roots = frozenset(row.place for row in table if row.depth == 0)
    return dataclasses.replace(view, opened=roots if view.opened is None else None)


def next_interval(interval: float, by: int) -> float:
    """Returns the next longer interval, or with a negative `by` the next shorter one, in seconds."""
    if by > 0:
        return min((i for i in _INTERVALS if i > interval), default=interval)
    return max((i for i in _INTERVALS if i < interval), default=interval)
