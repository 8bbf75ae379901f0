"""Tells which columns fit on a screen, and how wide each is; model/columns.py has what they are."""

from dataclasses import dataclass

from kmemtrace import text
from kmemtrace.model.columns import Column, Unit, columns_of
from kmemtrace.model.row import Row
from kmemtrace.model.view import GroupBy
from kmemtrace.tui.cells import cell

_LEAST_NAME, _MOST_LEAST_NAME = 20, 60
_LEAST_SITE = 15
_GAP = 1
_PREFIXES = {"charge": "", "alloc": "ALLOC ", "lifetime": "LIFE "}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A column as it stands on the screen."""

    column: Column
    heading: str
    width: int


def columns(
    width: int, by: GroupBy, latency: str, *, fleet: bool = False, census: bool = True, objects: bool = False
) -> list[Fitted]:
    """Chooses the columns that fit into `width` columns of the screen, with gaps of one between.

    `latency` is what P50 and P99 show; page lifetimes are headed LIFE so as not to pass for the latency of a
    charge.
    """
    chosen = columns_of(by, fleet=fleet, census=census, objects=objects)
    while len(chosen) > 2 and sum(_least(c, width) for c in chosen) + _GAP * (len(chosen) - 1) > width:
        chosen.remove(min(chosen, key=lambda c: c.worth))
    widths = _widths(chosen, width)
    return [Fitted(c, _heading(c, by, latency), w) for c, w in zip(chosen, widths, strict=True)]


def line(row: Row, chosen: list[Fitted]) -> list[str]:
    """Returns a row's cells as text, padded to their columns' widths."""
    return ["".join(part for part, _ in cell(row, one.column, one.width)) for one in chosen]


def headings(chosen: list[Fitted]) -> list[str]:
    return [
        text.padded(text.cut(one.heading, one.width), one.width, left=one.column.is_left) for one in chosen
    ]


def at(chosen: list[Fitted], x: int) -> Fitted | None:
    """Returns the column at a place of the screen's line."""
    begin = 0
    for one in chosen:
        if begin <= x < begin + one.width:
            return one
        begin += one.width + _GAP
    return None


def _heading(column: Column, by: GroupBy, latency: str) -> str:
    if column.unit is Unit.NAME:
        return by.value.upper()
    return _PREFIXES[latency] + column.heading if column.heading in ("P50", "P99") else column.heading


def _least(column: Column, width: int) -> int:
    """Returns a column's least width.

    A name is worth a quarter of a wide screen before there are further columns.
    """
    if column.unit is Unit.NAME:
        return max(_LEAST_NAME, min(_MOST_LEAST_NAME, width // 4 + 1))
    return max(_LEAST_SITE, width // 8) if column.unit is Unit.SITE else column.width


def _widths(chosen: list[Column], width: int) -> list[int]:
    """Gives the room that is left to the name, and a third of it to the call site."""
    room = max(2, width - sum(c.width for c in chosen) - _GAP * (len(chosen) - 1))
    has_site = any(c.unit is Unit.SITE for c in chosen)
    name = max(1, room - max(_LEAST_SITE, room // 3)) if has_site else room
    left = {Unit.NAME: name, Unit.SITE: max(1, room - name)}
    return [left.get(c.unit, c.width) for c in chosen]
