"""Reads how it stood at the end: findings, losses, what could not be seen, the cgroups that were there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from kmemtrace.history.timeline import Stretch, Timeline
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.recording.reader import columns
from kmemtrace.recording.rebuilt import losses_of, mismatches_of
from kmemtrace.recording.rows import rows_of, stacks_of, states
from kmemtrace.recording.schema import BY_NAME, TABLES
from kmemtrace.recording.state import State

_READ = ("snapshots", "findings", "losses", "stacks")
_TOLD = tuple(column.name for column in BY_NAME["snapshots"].values)
_OF_CGROUP = ("host", "hierarchy", "id", "path", "label", "state", "reparented_to", "oldest_seconds")
_ACCOUNT = ("account_slab_bytes", "account_percpu_bytes", "account_kernel_bytes")


@dataclass(frozen=True, slots=True)
class Ending:
    """A run at its end, or at the end of the range; counts are since the begin of the run."""

    run: int
    time: float
    kernel: str
    tier: str
    losses: Losses
    mismatches: tuple[Mismatch, ...]
    unseen: dict[str, str]
    unjudged_seconds: dict[str, float]
    pinned: dict[str, int]
    """Bytes that removed cgroups keep, by what they are, as of its last census."""
    dying_cgroups: int | None
    """Removed cgroups that the kernel still had; None without a census."""


@dataclass(frozen=True, slots=True)
class Last:
    """A cgroup as it was at the end."""

    path: str
    label: str | None
    state: str
    reparented_to: str | None
    oldest_seconds: float | None
    slab_bytes: int | None
    percpu_bytes: int | None
    kernel_bytes: int | None


def endings(over: Timeline) -> Iterator[Ending]:
    """Yields how each run ended that lies in a timeline.

    Raises:
        DamagedError: A file is not as it was written.
    """
    last: dict[int, Stretch] = {}
    for stretch in over.stretches:
        last[stretch.file.meta["run"]] = stretch
    for run, stretch in sorted(last.items()):
        wanted = {name: [column.name for column in BY_NAME[name].columns] for name in _READ}
        found = columns(stretch.file, wanted)
        if found is None:
            continue
        empty = {table.name: table.schema.empty_table() for table in TABLES if table.name not in _READ}
        until = stretch.last
        for moment, time, state in states(rows_of(found | empty)):
            if moment == until:
                yield _ending(run, time, state, found["stacks"])
                break


def _ending(run: int, time: float, state: State, stacks: Any) -> Ending:
    told = dict(zip(_TOLD, state["snapshots"][()], strict=True))
    return Ending(
        run,
        time,
        told["kernel"],
        told["tier"],
        losses_of(state),
        mismatches_of(state, stacks_of(stacks)),
        dict(told["unseen"] or ()) | dict(told["census_unseen"] or ()),
        dict(told["unjudged_seconds"] or ()),
        dict(told["census_pinned"] or ()),
        told["census_dying_cgroups"],
    )


def last_rows(over: Timeline) -> dict[tuple[Any, ...], Last]:
    """Returns the cgroups that were there at the end, by host, hierarchy and id."""
    stretch = over.stretches[-1]
    wanted = {
        "cgroups": (*_OF_CGROUP, *_ACCOUNT, "moment", "present"),
        "snapshots": ("moment", "watched_seconds"),
    }
    found = columns(stretch.file, wanted)
    if found is None:
        return {}
    table, moments = found["cgroups"], found["snapshots"]
    watched = dict(zip(*(moments[name].to_pylist() for name in ("moment", "watched_seconds")), strict=True))
    table = table.filter(pa.compute.less_equal(table["moment"], stretch.last))
    rows: dict[tuple[Any, ...], Last] = {}
    lists = [table[name].to_pylist() for name in (*_OF_CGROUP, *_ACCOUNT, "moment", "present")]
    for host, hierarchy, number, *values, moment, present in zip(*lists, strict=True):
        key = host, hierarchy, number
        if not present:
            rows.pop(key, None)
            continue
        row = Last(*values)
        # A row tells the age as of its own moment, which is there of all that hold at the end.
        if row.oldest_seconds is not None and moment in watched:
            row = replace(row, oldest_seconds=row.oldest_seconds + watched[stretch.last] - watched[moment])
        rows[key] = row
    return rows
