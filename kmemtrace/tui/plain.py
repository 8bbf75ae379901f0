"""Plain frames, for a pipe, a log, or a terminal that wants no more."""

from kmemtrace.model.rows import View, latency_shown, rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.tui import columns, summary, text


def frame(snapshot: Snapshot, previous: Snapshot | None, view: View, width: int, height: int | None) -> str:
    """A header, the table, and what the tier cannot see; no line longer than `width`.

    With a `height`, so many lines at most, the last rows left out and counted.
    """
    table = rows(snapshot, previous, view)
    chosen = columns.columns(width, view.by, latency_shown(snapshot), fleet=snapshot.hosts is not None)
    head = [
        summary.title(snapshot, width),
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


def empty(snapshot: Snapshot, view: View) -> str:
    """Why a table has no row."""
    if not snapshot.cgroups:
        return "No page was charged to a memory cgroup since the start."
    if view.filter and view.dead_only:
        return f"No removed cgroup that holds pages matches the filter {view.filter!r}."
    if view.filter:
        return f"No row matches the filter {view.filter!r}."
    if view.dead_only:
        return "No removed cgroup holds pages that were charged since the start."
    return "No row to show."
