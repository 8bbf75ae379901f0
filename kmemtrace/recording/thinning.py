"""Thins the rows of a table to fewer Snapshots, so that each of these reads as it did.

What a key ended with between two of these Snapshots stays, at its own moment: the last row before it was
there no more, or before its counts began anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmemtrace.recording.hashes import hashes
from kmemtrace.recording.schema import SNAPSHOTS, STACKS, Table

_WHOLE = frozenset({"findings"})
"""Tables of which no row is left out, but for those that say nothing new."""
_COUNTS = {"cgroups": "charged_pages", "sites": "charged_pages", "objects": "charged_objects"}
"""The column whose value only grows until a key is another one's, or counts anew."""
_AGE = "oldest_seconds"
_SAME_SECONDS = 1e-7
"""By which two ages may differ for what a difference of two times rounds."""


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments that tables are of, in their order, and which of them stay."""

    number: Any
    time: Any
    watched: Any
    stays: Any
    """Of each whether it stays: the last one does."""

    @classmethod
    def of(cls, snapshots: Any, step: float) -> "Moments":
        """Chooses the last moment of each step of so many seconds, and the first one of a run.

        Args:
            snapshots: The table `snapshots`, with the columns `moment`, `time` and `watched_seconds`.
            step: How many seconds.
        """
        number, watched = snapshots["moment"].to_numpy(), snapshots["watched_seconds"].to_numpy()
        steps = watched // step
        stays = np.r_[steps[1:] != steps[:-1], True] | (number == 0)
        return cls(number, snapshots["time"].cast(pa.int64()).to_numpy(), watched, stays)

    def standing(self, moments: Any) -> tuple[Any, Any]:
        """Returns of each moment its place, and the place of the one that stays at it or after it.

        What a key ended with may be of a moment that did not stay before: its place is that of the next one.
        """
        kept = np.flatnonzero(self.stays)
        places = np.searchsorted(self.number, moments)
        return places, kept[np.searchsorted(self.number[kept], moments)]


def thinned(table: Table, rows: Iterable[Any], moments: Moments) -> Any:
    """Returns the rows of a table that stay, sorted by key, and by moment within each.

    Args:
        table: The table.
        rows: Arrow tables that follow each other in time.
        moments: The moments that they are of.
    """
    if table is SNAPSHOTS:
        return pa.concat_tables(rows).filter(pa.array(moments.stays))
    if table is STACKS:
        whole = pa.concat_tables(rows)
        _, first = np.unique(whole["stack"].to_numpy(), return_index=True)
        return whole.take(pa.array(np.sort(first)))
    # First each by itself, as all rows of an hour would take too much room.
    fewer = pa.concat_tables([_fewer(table, one, moments)[0] for one in rows])
    found, holds, key = _fewer(table, fewer, moments)
    found = _moved(found, holds, moments)
    return found.filter(pa.array(~_says_nothing_new(table, found, key, moments)))


def _fewer(table: Table, rows: Any, moments: Moments) -> tuple[Any, Any, Any]:
    """Leaves out rows that no moment which stays has.

    Returns:
        The rows sorted by key, which of them hold at a moment that stays, and hashes of their keys.
    """
    rows = rows.combine_chunks()
    key = hashes([rows[one.name] for one in table.keys], "")
    number = rows["moment"].to_numpy()
    order = np.lexsort((number, key))
    rows, key, number = rows.take(pa.array(order)), key[order], number[order]
    if not len(number):
        return rows, np.zeros(0, bool), key
    _, at = moments.standing(number)
    present = rows["present"].to_numpy()
    same = np.r_[key[1:] == key[:-1], False]
    following = np.r_[at[1:], -1]
    holds = ~same | (at != following)
    stays = holds | ~present | (same & ~np.r_[present[1:], False])
    if (name := _COUNTS.get(table.name)) is not None:
        counts = pc.fill_null(rows[name], 0).to_numpy()
        stays |= same & (np.r_[counts[1:], 0] < counts)
    if table.name in _WHOLE:
        holds, stays = np.zeros(len(number), bool), np.ones(len(number), bool)
    return rows.filter(pa.array(stays)), (holds & present)[stays], key[stays]


def _moved(rows: Any, holds: Any, moments: Moments) -> Any:
    """Returns rows with those that hold at a moment which stays as rows of that moment."""
    if not holds.any():
        return rows
    number, time = rows["moment"].to_numpy(), rows["time"].cast(pa.int64()).to_numpy()
    places, at = moments.standing(number)
    rows = _with(rows, "moment", np.where(holds, moments.number[at], number))
    rows = _with(rows, "time", np.where(holds, moments.time[at], time))
    if _AGE in rows.column_names:
        older = np.where(holds, moments.watched[at] - moments.watched[places], 0.0)
        rows = _with(rows, _AGE, pc.add(rows[_AGE], pa.array(older)))
    return rows


def _with(rows: Any, name: str, values: Any) -> Any:
    place = rows.schema.get_field_index(name)
    type_ = rows.schema.field(name).type
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values).cast(type_)
    return rows.set_column(place, name, column)


def _says_nothing_new(table: Table, rows: Any, key: Any, moments: Moments) -> Any:
    """Tells of each row whether it says what the row before it of the same key does."""
    if not rows.num_rows:
        return np.zeros(0, bool)
    told = [*(one.name for one in table.values if one.name != _AGE), "present"]
    values = hashes([rows[name] for name in told], "")
    same = (key[1:] == key[:-1]) & (values[1:] == values[:-1])
    if _AGE in rows.column_names:
        places, _ = moments.standing(rows["moment"].to_numpy())
        born = moments.watched[places] - rows[_AGE].to_numpy()  # null as NaN
        missing = np.isnan(born)
        alike = np.abs(born[1:] - born[:-1]) <= _SAME_SECONDS
        same &= np.where(missing[1:] | missing[:-1], missing[1:] == missing[:-1], alike)
    return np.r_[False, same]
