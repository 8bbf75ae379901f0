"""Reads recordings: minutes as Arrow tables, and Snapshots as they were."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmemtrace.errors import UsageError
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import (
    FINDINGS,
    META,
    Minute,
    crc,
    damaged,
    is_empty,
    is_minute,
    minutes,
    unsealed,
)
from kmemtrace.recording.rebuilt import snapshot_of
from kmemtrace.recording.rows import rows_of, stacks_of, states
from kmemtrace.recording.schema import BY_NAME, TABLES, Column, Table

_T = TypeVar("_T")


class MergedError(Exception):
    """A minute was merged into another since it was listed: what it had is there."""


@dataclass(frozen=True, slots=True)
class File:
    """A minute of a recording as it was read, or several that were merged."""

    minute: Minute
    meta: dict[str, Any]
    tables: dict[str, Any]
    """Arrow tables by name, with all of their columns, in the order of moments; of headers() none."""

    @property
    def path(self) -> Path:
        """Where it stands."""
        return self.minute.path


def anew(read: Callable[[], _T]) -> _T:
    """Returns what was read of a recording, which begins anew where minutes were merged meanwhile."""
    while True:
        try:
            return read()
        except MergedError:
            continue


def files(folder: Path) -> Iterator[File]:
    """Yields the minutes of a recording in their order.

    It may be read while it is written: what is there at the begin is read, but for what is removed meanwhile.
    Of minutes that are merged meanwhile that which they were merged into comes, with all that it has.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    waiting = deque(listed(folder))
    while waiting:
        minute = waiting.popleft()
        try:
            file = file_of(minute)
        except MergedError:
            waiting = deque(one for one in listed(folder) if one.last >= minute.number)
            continue
        if file is not None:
            yield file


def file_of(minute: Minute, tables: Sequence[Table] = TABLES) -> File | None:
    """Reads a minute; None where it was removed since it was listed.

    Args:
        minute: The minute.
        tables: Which of its tables are wanted.

    Raises:
        DamagedError: A file is not as it was written.
        MergedError: It was merged into another since it was listed.
        UsageError: It is of a later version.
    """
    path = minute.path

    def read() -> File:
        meta = unsealed(path / META)
        return File(minute, meta, {one.name: _table(path, one, meta["files"]) for one in tables})

    return _unless_removed(minute, read)


def finding_lines(minute: Minute) -> list[bytes] | None:
    """Returns the lines of a minute's findings; None where it was removed since it was listed.

    Raises:
        DamagedError: A file is not as it was written.
        MergedError: It was merged into another since it was listed.
        UsageError: It is of a later version.
    """
    path = minute.path
    return _unless_removed(
        minute, lambda: _bytes(path / FINDINGS, unsealed(path / META)["files"]).splitlines(keepends=True)
    )


def headers(folder: Path) -> list[File]:
    """Returns the minutes of a recording in their order, without their tables.

    Raises:
        DamagedError: A meta.json is not as it was written.
        MergedError: One of them was merged into another since they were listed.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    return [found for minute in listed(folder) if (found := file_of(minute, ())) is not None]


def columns(file: File, wanted: Mapping[str, Collection[str]]) -> dict[str, Any] | None:
    """Reads some columns of some tables of a minute, which takes a fraction of reading it whole.

    Args:
        file: The minute.
        wanted: Names of columns by names of tables.

    Returns:
        Arrow tables by name, whose columns stand as the schema has them; None where the minute was removed
        meanwhile.

    Raises:
        DamagedError: A file is not as it was written.
        MergedError: It was merged into another since it was listed.
    """
    told = file.meta["files"]
    return _unless_removed(
        file.minute, lambda: {name: _table(file.path, BY_NAME[name], told, of) for name, of in wanted.items()}
    )


def snapshots(folder: Path) -> Iterator[Snapshot]:
    """Yields the Snapshots of a recording, as rebuilt.py tells what comes back of them.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    newest = (-1, -1)
    for file in files(folder):
        with fitting(file):
            stacks, run = stacks_of(file.tables["stacks"]), file.meta["run"]
            for moment, time, state in states(rows_of(file.tables)):
                if (run, moment) > newest:  # else it was told of before it was merged
                    newest = run, moment
                    yield snapshot_of(state, time, stacks)


@contextmanager
def fitting(file: File) -> Iterator[None]:
    """Tells as damage what is wrong with tables that are as they were written."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(file.path / META, f"its tables do not fit together ({error})") from None


def listed(folder: Path) -> list[Minute]:
    """Returns the minutes of a recording in their order: at least one.

    Raises:
        DamagedError: Its meta.json is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    try:
        unsealed(folder / META)
        found = minutes(folder)
    except FileNotFoundError:
        raise _no_recording(folder) from None
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file: name the folder that `record` wrote.") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}.") from None
    if not found and is_minute(folder.resolve()):
        raise UsageError(f"{folder} is a minute of a recording: name the folder that it is in.")
    if not found:
        raise UsageError(f"{folder} has no minute in it yet: the first is there when it is over.")
    return found


def _no_recording(folder: Path) -> UsageError:
    if not folder.exists():
        return UsageError(f"There is no folder {folder}.")
    if is_empty(folder):
        return UsageError(f"{folder} is empty: name the folder that `record` wrote.")
    return UsageError(f"{folder} is no recording, for it has no {META}: name the folder that `record` wrote.")


def _unless_removed(minute: Minute, read: Callable[[], _T]) -> _T | None:
    """Returns what was read of a minute; None where it was removed meanwhile."""
    path = minute.path
    try:
        return read()
    except FileNotFoundError as error:
        if path.exists():
            missing = Path(error.filename or path)
            raise damaged(path / missing.name, "it is missing") from None
        if _is_merged(minute):
            raise MergedError from None
        return None
    except NotADirectoryError:
        raise damaged(path / META, f"{path.name} is a file, and no folder") from None


def _is_merged(minute: Minute) -> bool:
    try:
        return any(one.covers(minute) for one in minutes(minute.path.parent))
    except FileNotFoundError:
        return False


def _table(minute: Path, table: Table, told: dict[str, Any], wanted: Collection[str] | None = None) -> Any:
    """Reads one table, or the columns of it that are wanted; where it has no rows there is no file."""
    kept = tuple(column for column in table.columns if wanted is None or column.name in wanted)
    name = f"{table.name}.parquet"
    if name not in told:
        return pa.schema([(column.name, column.type) for column in kept]).empty_table()
    path = minute / name
    data = _bytes(path, told)
    try:
        # No pq.read_table(), which takes twice as long for a file as small as these.
        file = pq.ParquetFile(pa.BufferReader(data))
        there = set(file.schema_arrow.names)
        names = [column.name for column in kept if column.name in there]
        return _in_time(_fitted(file.read(columns=names, use_threads=False), kept))
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"it is not as Parquet has it ({error})") from None


def _bytes(path: Path, told: dict[str, Any]) -> bytes:
    """Reads a file of a minute, whose meta.json tells what is to be in it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from None
    # First of all: nothing that was changed since is to reach a decoder.
    if len(data) != told[path.name]["bytes"]:
        raise damaged(path, f"it has {len(data)} bytes, where {told[path.name]['bytes']} were written")
    if crc(data) != told[path.name]["crc32"]:
        raise damaged(path, "its checksum is another")
    return data


def _in_time(table: Any) -> Any:
    """Returns a table in the order of its moments, where it tells them: merged ones are written by key."""
    if "moment" not in table.column_names:
        return table
    moments = table["moment"].to_numpy()
    if (moments[1:] >= moments[:-1]).all():
        return table
    return table.combine_chunks().take(pa.array(np.argsort(moments, kind="stable")))


def _fitted(read: Any, kept: tuple[Column, ...]) -> Any:
    """Returns columns that this version knows; those that an earlier one did not write are null."""
    known = set(read.column_names)
    found = [
        read.column(column.name).cast(column.type)
        if column.name in known
        else pa.nulls(read.num_rows, column.type)
        for column in kept
    ]
    return pa.Table.from_arrays(found, names=[column.name for column in kept])
