"""The columns of the table: what each shows, how wide, and which give way on a narrow screen."""

from collections.abc import Callable
from dataclasses import dataclass

from kmemtrace.model.rows import GroupBy, Row, SortKey
from kmemtrace.tui import text

_LEAST_NAME, _MOST_NAME = 20, 60
_GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    width: int
    """0: takes its share of what the others leave."""
    worth: int
    """The column of least worth goes first where there is no room."""
    text: Callable[[Row, int], str]
    """Of a row, in at most so many characters."""
    sort: SortKey | None = None
    left: bool = False


def columns(width: int, by: GroupBy, latency: str, *, fleet: bool = False) -> list[Column]:
    """Those that fit into `width` characters, each with its final width, gaps of one between.

    `latency` is what P50 and P99 show; page lifetimes are headed LIFE so as not to pass for the
    latency of a charge. Those of a `fleet` have a host, and no call sites.
    """
    chosen = _all(by, latency)
    if fleet:
        chosen = [c for c in chosen if c.heading not in _OF_TRACERS and "P50" not in c.heading]
        chosen = [c for c in chosen if "P99" not in c.heading]
        if by is GroupBy.CGROUP:
            chosen.insert(1, Column("HOST", 20, 98, _host, left=True))
    while len(chosen) > 2 and _least_width(chosen) > width:
        chosen.remove(min(chosen, key=lambda c: c.worth))
    return _stretched(chosen, width)


_OF_TRACERS = {"OLDEST", "TOP SITE"}
"""What a Prometheus server does not know."""


def sortable(by: GroupBy) -> set[SortKey]:
    """What a table of such rows can be sorted by."""
    return {column.sort for column in _all(by, "lifetime") if column.sort is not None}


def line(row: Row, chosen: list[Column]) -> list[str]:
    """A row's cells, padded to their columns' widths."""
    return [_aligned(c, c.text(row, c.width)) for c in chosen]


def headings(chosen: list[Column]) -> list[str]:
    return [_aligned(c, text.cut(c.heading, c.width)) for c in chosen]


def _all(by: GroupBy, latency: str) -> list[Column]:
    prefix = {"charge": "", "alloc": "ALLOC ", "lifetime": "LIFE "}[latency]
    columns = [
        Column(by.value.upper(), 0, 100, _name, SortKey.CGROUP, left=True),
        Column("STATE", 6, 85, lambda r, _: r.state.value, left=True),
        Column("HELD", 6, 99, lambda r, _: text.size(r.held_bytes), SortKey.HELD),
        Column("CHARGE/s", 8, 95, lambda r, _: text.rate(r.charge_rate), SortKey.CHARGE),
        Column("UNCHARGE/s", 10, 70, lambda r, _: text.rate(r.uncharge_rate), SortKey.UNCHARGE),
        Column("FAIL/s", 6, 40, lambda r, _: text.rate(r.fail_rate), SortKey.FAIL),
        Column("OLDEST", 6, 80, lambda r, _: text.duration(r.oldest_seconds), SortKey.OLDEST),
        Column(f"{prefix}P50", 9, 20, lambda r, _: text.duration(r.p50_seconds), SortKey.P50),
        Column(f"{prefix}P99", 9, 30, lambda r, _: text.duration(r.p99_seconds), SortKey.P99),
        Column("MISMATCH", 8, 35, _mismatches, SortKey.MISMATCH),
        Column("TOP SITE", 0, 90, _site, left=True),
    ]
    hidden = {
        GroupBy.SITE: {"FAIL/s", "OLDEST", "MISMATCH", f"{prefix}P50", f"{prefix}P99"},
        GroupBy.KIND: {"FAIL/s", "OLDEST", "MISMATCH", f"{prefix}P50", f"{prefix}P99"},
    }.get(by, set())
    return [c for c in columns if c.heading not in hidden]


_LEAST_SITE = 15


def _least_width(chosen: list[Column]) -> int:
    least = {0: _LEAST_NAME, len(chosen) - 1: _LEAST_SITE}
    return sum(c.width or least.get(i, 0) for i, c in enumerate(chosen)) + _GAP * (len(chosen) - 1)


def _stretched(chosen: list[Column], width: int) -> list[Column]:
    """Gives the room that is left to the name, and a third of it to the call site."""
    fixed = sum(c.width for c in chosen) + _GAP * (len(chosen) - 1)
    room = max(2, width - fixed)
    has_site = chosen[-1].width == 0 and len(chosen) > 1
    site = max(_LEAST_SITE, room // 3) if has_site else 0
    name = max(1, room - site)
    widths = {0: name, len(chosen) - 1: max(1, room - name)} if has_site else {0: name}
    return [
        Column(c.heading, widths.get(i, c.width), c.worth, c.text, c.sort, c.left)
        for i, c in enumerate(chosen)
    ]


def _aligned(column: Column, cell: str) -> str:
    cell = cell[: column.width]
    return cell.ljust(column.width) if column.left else cell.rjust(column.width)


def _name(row: Row, width: int) -> str:
    indent = "  " * row.depth
    if row.depth:
        own = row.name.rpartition("/")[2] or row.name
        return indent + text.shortened(own, max(1, width - len(indent)))
    name = row.name
    if row.label is not None and len(name) > width:
        name = row.label
    return text.shortened(name, width)


def _host(row: Row, width: int) -> str:
    return text.shortened(row.host or "", width)


def _site(row: Row, width: int) -> str:
    if not row.top_site:
        return text.NOTHING
    both = f"{row.top_site} ({row.top_kind})"
    if row.top_site == f"({row.top_kind})":  # an unknown one says so once
        both = row.top_site
    return both if len(both) <= width else text.cut(row.top_site, width)


def _mismatches(row: Row, _: int) -> str:
    return text.NOTHING if row.mismatches is None else str(row.mismatches)
