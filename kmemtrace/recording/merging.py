"""Merges old minutes of a recording into one file an hour, of fewer Snapshots, while it is recorded."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from kmemtrace.errors import KmemtraceError
from kmemtrace.recording.folder import FINDINGS, Minute, merged_path, write_minute
from kmemtrace.recording.parquet import encoded_by_key
from kmemtrace.recording.reader import File, file_of, finding_lines
from kmemtrace.recording.rotation import Detail, Rotation
from kmemtrace.recording.schema import SNAPSHOTS, TABLES, Table
from kmemtrace.recording.thinning import Moments, thinned

_T = TypeVar("_T")


class _StoppedError(Exception):
    """It is not worth going on: the recording ends, or a minute was removed."""


class _UnreadableError(Exception):
    """A minute cannot be read; it and the error are its arguments."""


class Merger:
    """Merges what a Rotation says, beside what else is done; only go_on() changes what readers see."""

    def __init__(self, rotation: Rotation, detail: Detail, warn: Callable[[str], None]) -> None:
        """Begins nothing yet.

        Args:
            rotation: Knows the minutes.
            detail: What of them stays as it is.
            warn: Is told, once, that something could not be merged, and why.
        """
        self._rotation, self._detail, self._warn = rotation, detail, warn
        self._thread = ThreadPoolExecutor(1)
        self._stop = threading.Event()
        self._group: list[Minute] = []
        self._written: Future[Path] | None = None
        self._warned = False

    def go_on(self, *, wait: bool = False) -> bool:
        """Puts what is merged by now in place of its minutes, and begins the next, if there is any.

        Args:
            wait: Whether to wait for what is being merged.

        Returns:
            Whether something is being merged.
        """
        if self._written is not None and (wait or self._written.done()):
            done, self._written = self._written, None
            self._end(done)
        if self._written is None and (group := self._rotation.ripe(self._detail)):
            self._group = group
            self._written = self._thread.submit(merged, group, self._detail.step, self._stop)
        return self._written is not None

    def _end(self, done: "Future[Path]") -> None:
        try:
            self._rotation.merge(self._group, done.result())
        except _StoppedError:
            return
        except _UnreadableError as error:
            minute, why = error.args
            self._leave([minute], why)
        except OSError as error:
            self._leave(self._group, error)

    def _leave(self, group: Sequence[Minute], why: Exception) -> None:
        self._rotation.leave(group)
        if not self._warned:
            self._warn(f"{group[0].path} cannot be merged, and stays as it is: {why}")
        self._warned = True

    def close(self) -> None:
        """Ends at once; what was not merged by then stays as it is."""
        self._stop.set()
        self._thread.shutdown()


def merged(group: Sequence[Minute], step: float, stop: threading.Event) -> Path:
    """Writes what minutes are merged into, and returns where that stands while it is written.

    Args:
        group: The minutes, which follow each other in one run; merged ones may be among them.
        step: Seconds from one Snapshot to the next.
        stop: Is set where it is to end at once.

    Raises:
        OSError: It cannot be written.
        _StoppedError: It was stopped, or one of them was removed.
        _UnreadableError: One of them cannot be read.
    """
    read = [_read(one, SNAPSHOTS, stop) for one in group]
    moments = Moments.of(pa.concat_tables([one.tables[SNAPSHOTS.name] for one in read]), step)

    def files() -> Iterator[tuple[str, Any, int]]:
        for table in TABLES:
            rows = thinned(table, (_read(one, table, stop).tables[table.name] for one in group), moments)
            if rows.num_rows:
                yield f"{table.name}.parquet", encoded_by_key(table, rows), rows.num_rows
        lines = _new_lines(group, stop)
        yield FINDINGS, b"".join(lines), len(lines)

    first, last = read[0].meta, read[-1].meta
    begun = {name: of for name, of in first["clock"].items() if name.startswith("begin")}
    told = {
        "moments": [first["moments"][0], last["moments"][1]],
        "clock": last["clock"] | begun,
        "merged": {"minutes": [group[0].number, group[-1].last], "step_seconds": step},
    }
    path = merged_path(group[0].path.parent, group[0], group[-1])
    return write_minute(path, files(), last | told)


def _read(minute: Minute, table: Table, stop: threading.Event) -> File:
    return _there(minute, stop, lambda: file_of(minute, (table,)))


def _new_lines(group: Sequence[Minute], stop: threading.Event) -> list[bytes]:
    """Returns the findings of all minutes, but for those that a minute tells again at its begin."""
    found: dict[bytes, bytes] = {}
    for one in group:
        for line in _there(one, stop, partial(finding_lines, one)):
            _, _, finding = line.partition(b", ")  # without its moment
            found.setdefault(finding, line)
    return list(found.values())


def _there(minute: Minute, stop: threading.Event, read: Callable[[], _T | None]) -> _T:
    """Returns what was read of a minute."""
    try:
        found = None if stop.is_set() else read()
    except KmemtraceError as error:
        raise _UnreadableError(minute, error) from None
    if found is None:
        raise _StoppedError
    return found
