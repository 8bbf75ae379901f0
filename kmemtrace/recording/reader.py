"""Reads recordings: minutes as Arrow tables, and Snapshots as they were."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from kmemtrace.errors import UsageError
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import META, Minute, crc, damaged, is_empty, is_minute, minutes, unsealed
from kmemtrace.recording.rebuilt import snapshot_of
from kmemtrace.recording.rows import rows_of, stacks_of, states
from kmemtrace.recording.schema import BY_NAME, TABLES, Column, Table

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class File:
    """A minute of a recording as it was read."""

    path: Path
    meta: dict[str, Any]
    tables: dict[str, Any]
    """Arrow tables by name, with all of their columns; of headers() none."""


def files(folder: Path) -> Iterator[File]:
    """Yields the minutes of a recording in their order.

    It may be read while it is written: what is there at the begin is read, but for what is removed meanwhile.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    for minute in listed(folder):
        file = file_of(minute)
        if file is not None:
            yield file


def file_of(minute: Minute, tables: Sequence[Table] = TABLES) -> File | None:
    """Reads a minute; None where it was removed since it was listed.

    Args:
        minute: The minute.
        tables: Which of its tables are wanted.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is of a later version.
    """
    path = minute.path

    def read() -> File:
        meta = unsealed(path / META)
        return File(path, meta, {one.name: _table(path, one, meta["files"]) for one in tables})

    return _unless_removed(path, read)


def headers(folder: Path) -> list[File]:
    """Returns the minutes of a recording in their order, without their tables.

    Raises:
        DamagedError: A meta.json is not as it was written.
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
    """
    told = file.meta["files"]
    return _unless_removed(
        file.path, lambda: {name: _table(file.path, BY_NAME[name], told, of) for name, of in wanted.items()}
    )


def snapshots(folder: Path) -> Iterator[Snapshot]:
    """Yields the Snapshots of a recording, as rebuilt.py tells what comes back of them.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    for file in files(folder):
        with fitting(file):
            stacks = stacks_of(file.tables["stacks"])
            for _, time, state in states(rows_of(file.tables)):
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


def _unless_removed(minute: Path, read: Callable[[], _T]) -> _T | None:
    """Returns what was read of a minute; None where it was removed meanwhile."""
    try:
        return read()
    except FileNotFoundError as error:
        if minute.exists():
            missing = Path(error.filename or minute)
            raise damaged(minute / missing.name, "it is missing") from None
        return None
    except NotADirectoryError:
        raise damaged(minute / META, f"{minute.name} is a file, and no folder") from None


def _table(minute: Path, table: Table, told: dict[str, Any], wanted: Collection[str] | None = None) -> Any:
    """Reads one table, or the columns of it that are wanted; where it has no rows there is no file."""
    kept = tuple(column for column in table.columns if wanted is None or column.name in wanted)
    name = f"{table.name}.parquet"
    if name not in told:
        return pa.schema([(column.name, column.type) for column in kept]).empty_table()
    path = minute / name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from None
    # First of all: nothing that was changed since is to reach a decoder.
    if len(data) != told[name]["bytes"]:
        raise damaged(path, f"it has {len(data)} bytes, where {told[name]['bytes']} were written")
    if crc(data) != told[name]["crc32"]:
        raise damaged(path, "its checksum is another")
    try:
        # No pq.read_table(), which takes twice as long for a file as small as these.
        file = pq.ParquetFile(pa.BufferReader(data))
        there = set(file.schema_arrow.names)
        names = [column.name for column in kept if column.name in there]
        return _fitted(file.read(columns=names, use_threads=False), kept)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"it is not as Parquet has it ({error})") from None


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
