"""Makes plain frames, for a pipe, a log, or a terminal that wants no more."""

from collections.abc import Callable, Sequence
from functools import partial

from kmemtrace import text
from kmemtrace.model.row import Row, follows_objects, latency_shown
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, View
from kmemtrace.tui import columns, summary

_LEAST_TABLE, _ENDLESS = 140, 10_000
"""How wide the table is at least, and other lines are at most, where nothing limits them."""


def frame(
    snapshot: Snapshot,
    previous: Snapshot | None,
    view: View,
    width: int | None,
    height: int | None,
    marks: str = "",
) -> str:
    """Makes a header, the table, and what the tier cannot see.

    Args:
        snapshot: What is shown.
        previous: The Snapshot before, for rates; None: since the start.
        view: How it is shown.
        width: No line is longer; None, as for a pipe or a file: nothing is cut.
        height: Lines at most, the last rows left out and counted; None for all.
        marks: What is told beside the title.
    """
    table = rows(snapshot, previous, view)
    fitted = partial(
        columns.columns,
        by=view.by,
        latency=latency_shown(snapshot),
        fleet=snapshot.hosts is not None,
        census=snapshot.census is not None,
        objects=follows_objects(snapshot),
    )
    chosen = _uncut(table, fitted) if width is None else fitted(width)
    width = width or _ENDLESS
    head = [
        summary.title(snapshot, width, marks),
        summary.totals(snapshot, previous, width),
        summary.losses(snapshot, width),
        "",
        " ".join(columns.headings(chosen)),
    ]
    body = [" ".join(columns.line(row, chosen)) for row in table] or [empty(snapshot, view)]
    foot = [summary.unseen(snapshot)] if snapshot.unseen else []
    if height is not None and len(head) + len(body) + len(foot) > height:
        room = max(0, height - len(head) - len(foot) - 1)
        body = [*body[:room], f"... and {len(body) - room} more rows"]
    lines = (text.cut(line.rstrip(), width) for line in [*head, *body, *foot])
    return "\n".join(lines) + "\n"


def _uncut(table: Sequence[Row], fitted: Callable[[int], list[columns.Fitted]]) -> list[columns.Fitted]:
    """Returns columns in which no name and no call site is cut."""
    room, chosen = _LEAST_TABLE, fitted(_LEAST_TABLE)
    name = max((text.width(row.name) for row in table), default=0)
    site = max((text.width(row.top_site[1]) for row in table), default=0)
    # The two share what room there is.
    while (short := max(name - chosen[0].width, site - chosen[-1].width)) > 0 and room < _ENDLESS:
        room += short
        chosen = fitted(room)
    return chosen


def empty(snapshot: Snapshot, view: View) -> str:
    """Says why a table has no row."""
    if view.by is GroupBy.CACHE and snapshot.census is None:
        return f"No slab cache is known: {snapshot.unseen.get(Unseen.ACCOUNT, 'no census was taken')}."
    if not snapshot.cgroups:
        return "No page was charged to a memory cgroup since the start."
    if view.filter and view.dead_only:
        return f"No removed cgroup that holds pages matches the filter {view.filter!r}."
    if view.filter:
        return f"No row matches the filter {view.filter!r}."
    if view.dead_only:
        return "No removed cgroup holds pages that were charged since the start."
    return "No row to show."
