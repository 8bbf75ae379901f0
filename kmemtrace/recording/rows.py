"""Makes Arrow rows of what changed from one State to the next, and State of rows again."""

from collections import deque
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from kmemtrace.recording.schema import BY_NAME, TABLES, Table
from kmemtrace.recording.state import OLDEST, Key, Stacks, State, Values

IN_TIME = tuple(table for table in TABLES if table.in_time)
_MOMENT = 1
"""Which column tells the number of the moment."""
_OF_MOMENT = 3
"""How many columns at the begin of a row tell its moment."""
NANOSECONDS = 10**9


def nanoseconds(seconds: float) -> int:
    """Returns seconds since the epoch as whole nanoseconds, from which the same seconds follow again."""
    whole = int(seconds)
    return whole * NANOSECONDS + round((seconds - whole) * NANOSECONDS)


class Moment:
    """Number and time of the moment that rows are of."""

    def __init__(self, run: int, number: int, time_ns: int, watched: float) -> None:
        self.columns = (run, number, time_ns)
        self.watched = watched


def changes(before: State, now: State, moment: Moment, *, whole: bool) -> dict[str, Any]:
    """Returns, by table, a record batch of what changed; tables where nothing did are left out.

    Args:
        before: The State before; an empty one where there was none.
        now: The State now.
        moment: When that is.
        whole: Whether all of it counts as changed, as at the begin of a file. What is there no more is told
            then too, for who reads on from the file before.
    """
    found = {}
    for table in IN_TIME:
        known = before.get(table.name, {})
        rows = list(_rows(table, known, now[table.name], moment, whole=whole))
        if rows:
            found[table.name] = batch(table, rows)
    return found


def _rows(
    table: Table, before: dict[Key, Values], now: dict[Key, Values], moment: Moment, *, whole: bool
) -> Iterator[Any]:
    if not table.has_absence:
        yield from ((*moment.columns, *values) for values in now.values())
        return
    is_of_age = table.name == "cgroups"
    for key, values in now.items():
        if whole or before.get(key) != values:
            told = _with_age(values, moment.watched) if is_of_age else values
            yield (*moment.columns, *key, *told, True)
    nothing = (None,) * len(table.values)
    for key in before.keys() - now.keys():
        yield (*moment.columns, *key, *nothing, False)


def _with_age(values: Values, watched: float) -> Values:
    """Turns the time at which the oldest page was charged to its age, or an age to that time."""
    oldest = values[OLDEST]
    if oldest is None:
        return values
    return (*values[:OLDEST], watched - oldest, *values[OLDEST + 1 :])


def batch(table: Table, rows: list[Any]) -> Any:
    """Returns a record batch of rows, each a tuple in the order of the table's columns."""
    arrays = [
        _array(column.type, values)
        for column, values in zip(table.columns, zip(*rows, strict=True), strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def stack_rows(stacks: Stacks) -> list[Any]:
    """Returns the rows of the table of stacks."""
    return list(stacks.items())


def _array(type_: Any, values: tuple[Any, ...]) -> Any:
    try:
        return pa.array(values, type_)
    except UnicodeEncodeError:  # a name that is no UTF-8
        return pa.array([_utf8(value) for value in values], type_)


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return type(value)(map(_utf8, value)) if isinstance(value, list | tuple) else value


Rows = dict[str, dict[int, list[tuple[Any, ...]]]]
"""Rows by moment, by table."""


def rows_of(tables: dict[str, Any]) -> Rows:
    """Returns the rows of a file's Arrow tables."""
    return {name: _by_moment(table) for name, table in tables.items() if BY_NAME[name].in_time}


def states(rows: Rows) -> Iterator[tuple[int, float, State]]:
    """Yields the number, the time and the State of each moment of a file.

    The State is the same object each time, changed.
    """
    state: State = {table.name: {} for table in IN_TIME}
    waiting = {table.name: deque(rows[table.name].items()) for table in IN_TIME if table.has_absence}
    for moment, ((_, _, time_ns, *values),) in rows["snapshots"].items():
        state["snapshots"][()] = tuple(values)
        for name, after in waiting.items():
            while after and after[0][0] <= moment:  # earlier ones where minutes were merged
                for row in after.popleft()[1]:
                    _apply(BY_NAME[name], state[name], row, values[0])
        yield moment, time_ns / NANOSECONDS, state


def _apply(table: Table, state: dict[Key, Values], row: tuple[Any, ...], watched: float) -> None:
    end = _OF_MOMENT + len(table.keys)
    key = row[_OF_MOMENT:end]
    if not row[-1]:
        state.pop(key, None)
        return
    values = row[end:-1]
    state[key] = _with_age(values, watched) if table.name == "cgroups" else values


def _by_moment(table: Any) -> dict[int, list[tuple[Any, ...]]]:
    columns = [_values(column) for column in table.columns]
    rows = zip(*columns, strict=True)
    return {moment: list(found) for moment, found in groupby(rows, key=itemgetter(_MOMENT))}


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type) or pa.types.is_list(column.type):
        return [None if value is None else tuple(value) for value in values]
    return values


def stacks_of(table: Any) -> Stacks:
    """Returns the stacks of the table of stacks."""
    return dict(zip(*(_values(column) for column in table.columns), strict=True))
