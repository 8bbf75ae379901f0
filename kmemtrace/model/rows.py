"""Makes the rows of one table by themselves, from Snapshots: grouping, rates, sorting, filtering."""

import dataclasses
from itertools import chain

from kmemtrace.model.row import Row
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.tables import Tables
from kmemtrace.model.view import GroupBy, View


def rows(
    snapshot: Snapshot, previous: Snapshot | None, view: View, baseline: Snapshot | None = None
) -> list[Row]:
    """Makes all rows; the arguments are those of Tables.table()."""
    return list(Tables().table(snapshot, previous, view, baseline))


def selected(snapshot: Snapshot, previous: Snapshot | None, view: View) -> Snapshot:
    """Returns `snapshot` with only those of its cgroups that have a row in `view`, in that order."""
    table = rows(snapshot, previous, dataclasses.replace(view, by=GroupBy.CGROUP, tree=False))
    return dataclasses.replace(
        snapshot, cgroups=tuple(chain.from_iterable(row.sums.all_cgroups() for row in table))
    )
