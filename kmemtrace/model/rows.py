"""Makes rows of a table from Snapshots, by pure functions: grouping, rates, sorting, filtering."""

import dataclasses
import math
from collections.abc import Callable
from itertools import chain

from kmemtrace.model.columns import value_of
from kmemtrace.model.enums import CgroupState, MismatchClass
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.row import Row, Span, latency_shown
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.sums import Sums, sums
from kmemtrace.model.tree import tree
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, SortKey, View


def rows(
    snapshot: Snapshot, previous: Snapshot | None, view: View, baseline: Snapshot | None = None
) -> list[Row]:
    """Makes the table of a Snapshot.

    Args:
        snapshot: The Snapshot.
        previous: Rates and growth are since this; None: since the start.
        view: How the table is wanted.
        baseline: With it, all that is counted is since this.
    """
    since = previous if baseline is None else baseline
    current = sums(snapshot, view.by)
    before = {} if since is None else sums(since, view.by)
    span = span_of(snapshot, since, from_baseline=baseline is not None)
    found = {key: _is_wanted(one, view) for key, one in current.items()}
    ordering = _ordering(view.sort)
    if view.tree and view.by is GroupBy.CGROUP:
        return tree(current, before, found, span, view, ordering)
    table = [Row(key, one, before.get(key), span, one) for key, one in current.items() if found[key]]
    table.sort(key=ordering, reverse=view.reverse)
    return table


def span_of(snapshot: Snapshot, since: Snapshot | None, *, from_baseline: bool = False) -> Span:
    return Span(
        seconds=snapshot.seconds_since(since),
        watched_seconds=snapshot.watched_seconds,
        page_size=snapshot.page_size,
        latency=latency_shown(snapshot),
        judged=any(Unseen(one) not in snapshot.unseen for one in MismatchClass),
        from_baseline=from_baseline,
    )


def selected(snapshot: Snapshot, previous: Snapshot | None, view: View) -> Snapshot:
    """Returns `snapshot` with only those of its cgroups that have a row in `view`, in that order."""
    table = rows(snapshot, previous, dataclasses.replace(view, by=GroupBy.CGROUP, tree=False))
    return dataclasses.replace(
        snapshot, cgroups=tuple(chain.from_iterable(row.sums.all_cgroups() for row in table))
    )


def _is_wanted(one: Sums, view: View) -> bool:
    if view.dead_only and one.state is not CgroupState.DEAD:
        return False
    text = view.filter.casefold()
    if not text:
        return True
    names = (one.name, one.label or "", one.host or "")
    return (
        any(text in name.casefold() for name in names)
        or any(text in site.symbol.casefold() for _, site in one.all_sites())
        or any(text in part.site.casefold() for _, part in one.shares if isinstance(part, ObjectSite))
    )


def _ordering(sort: SortKey) -> Callable[[Row], tuple[float | str, ...]]:
    """Returns the order of rows: most first, names A to Z.

    Equal rows are ordered by held pages, kernel memory, activity and name, so that they keep their places
    from frame to frame.
    """
    value = value_of(sort)

    def order(row: Row) -> tuple[float | str, ...]:
        found = value(row)
        if isinstance(found, str):
            return found, row.host or ""
        first = math.inf if found is None else -found
        return first, -row.sums.held, -(row.sums.kernel or row.sums.slab or 0), -row.sums.charged, row.name

    return order
