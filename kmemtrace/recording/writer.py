"""Writes Snapshots as a recording, a minute at a time."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from kmemtrace.errors import OutputError, UsageError
from kmemtrace.model.document import mismatch_document
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording import folder as places
from kmemtrace.recording.folder import FINDINGS, META, Minute, minutes
from kmemtrace.recording.merging import Merger
from kmemtrace.recording.parquet import encoded
from kmemtrace.recording.rotation import Detail, Limits, Now, Rotation
from kmemtrace.recording.rows import Moment, batch, changes, nanoseconds, stack_rows
from kmemtrace.recording.schema import BY_NAME, STACKS
from kmemtrace.recording.state import Stacks, State, state_of

MINUTE = 60.0
_MOST_BYTES = 64 << 20
"""Size of the rows in memory at which a file ends before its minute."""


class Writer:
    """Writes Snapshots into a folder, which is its alone while it is entered.

    What add() was given is on the disk when its minute is over, or at finish().
    """

    def __init__(
        self,
        folder: Path,
        interval: float,
        limits: Limits | None = None,
        *,
        detail: Detail | None = None,
        minute: float = MINUTE,
        now: Callable[[], Now] = Now.read,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Touches nothing yet.

        Args:
            folder: Where to write; a recording that is there already is gone on with.
            interval: Seconds from one Snapshot to the next.
            limits: How much is kept; None for all.
            detail: How much of that is not merged; None for all.
            minute: Seconds that a file is of, at most.
            now: Reads the clocks.
            warn: Is told what went wrong and cost nothing.
        """
        self._detail, self._warn = detail, warn
        self._merger: Merger | None = None
        self._folder, self._interval, self._minute, self._now = folder, interval, minute, now
        self._about: dict[str, Any] = {"interval_seconds": interval}
        self._limits = limits or Limits()
        self._rotation: Rotation | None = None
        self._lock: int | None = None
        self._run, self._number = 0, 0
        self._open: _Open | None = None
        self._state: State = {}
        self._told: frozenset[Mismatch] = frozenset()
        self.moments, self.rows = 0, 0
        """How many Snapshots there were, and how many rows were made of them."""

    @property
    def bytes(self) -> int:
        """Returns the size of all of the folder's minutes."""
        return 0 if self._rotation is None else self._rotation.bytes

    def __enter__(self) -> Self:
        """Takes the folder.

        Raises:
            DamagedError: It is a recording of which it cannot be told how to go on.
            OutputError: It cannot be written to.
            UsageError: It is no recording, one of a later version, or being written.
        """
        with _told_as_output(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._folder)
            places.clear_left_over(self._folder)
            self._run = _next_run(self._folder)
            places.clear_merged(self._folder)
            found = minutes(self._folder)
            self._number = found[-1].last + 1 if found else 0
            self._rotation = Rotation(self._folder, self._limits, self._now)
            if self._detail is not None:
                self._merger = Merger(self._rotation, self._detail, self._warn)
        return self

    def begin(self, about: Mapping[str, Any]) -> None:
        """Begins the run: from here on the folder is a recording.

        Args:
            about: What meta.json tells of it: the kernel, and how it is traced.

        Raises:
            OutputError: It cannot be written.
        """
        self._about |= about
        meta = {"run": self._run, "clock": _clock("begin", self._now()), **self._about}
        with _told_as_output(self._folder):
            places.write_whole(self._folder / META, places.sealed(meta))

    def __exit__(self, *_: object) -> None:
        if self._merger is not None:
            self._merger.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add(self, snapshot: Snapshot) -> bool:
        """Adds a Snapshot, and writes the minute if it is over.

        Returns:
            Whether it was written.

        Raises:
            OutputError: It could not be, and is lost. The next Snapshot begins another.
        """
        if self._open is None:
            self._open = _Open(self._now(), self.moments, self._state)
        moment = Moment(self._run, self.moments, nanoseconds(snapshot.time), snapshot.watched_seconds)
        self.rows += self._open.add(snapshot, moment, self._told)
        self._state = self._open.state
        self._told = frozenset(snapshot.mismatches)
        self.moments += 1
        # A Snapshot that would come after the end of the minute is another minute's.
        if self._merger is not None:
            self._merger.go_on()
        over = time.monotonic() - self._open.began >= self._minute - self._interval
        if over or self._open.bytes >= _MOST_BYTES:
            self.finish()
            return True
        return False

    def finish(self) -> None:
        """Writes what was added since the last minute.

        Raises:
            OutputError: It could not be, and is lost.
        """
        if self._open is None:
            return
        one, self._open = self._open, None
        with _told_as_output(self._folder):
            end = self._now()
            begin = datetime.fromtimestamp(one.begin.time, UTC).strftime("%Y%m%dT%H%M%SZ")
            path = places.minute_path(self._folder, self._number, begin)
            self._number += 1
            meta = {
                "run": self._run,
                "moments": [one.first, self.moments - 1],
                "clock": _clock("begin", one.begin) | _clock("end", end),
                **self._about,
            }
            places.rename_whole(places.write_minute(path, one.files(), meta), path)
            if self._rotation is not None:
                self._rotation.add(Minute(self._number - 1, self._number - 1, path))

    def merge(self) -> None:
        """Merges all that is to be merged by now, and returns when that is done."""
        while self._merger is not None and self._merger.go_on(wait=True):
            pass


class _Open:
    """Holds the rows of the minute that is being recorded, as compact as Arrow has them."""

    def __init__(self, begin: Now, first: int, state: State) -> None:
        self.begin, self.first, self.began, self.bytes = begin, first, time.monotonic(), 0
        self.state = state
        self._stacks: Stacks = {}
        self._batches: dict[str, list[Any]] = {}
        self._findings: list[str] = []

    def add(self, snapshot: Snapshot, moment: Moment, told: frozenset[Mismatch]) -> int:
        is_first = moment.columns[1] == self.first
        now = state_of(snapshot, self._stacks)
        found = changes(self.state, now, moment, whole=is_first)
        self.state = now
        for name, rows in found.items():
            self._batches.setdefault(name, []).append(rows)
        # Of a file's first Snapshot all, so that each file can be read alone.
        new = (one for one in snapshot.mismatches if is_first or one not in told)
        self._findings += (json.dumps({"moment": moment.columns[1], **mismatch_document(one)}) for one in new)
        self.bytes += sum(rows.nbytes for rows in found.values())
        return sum(rows.num_rows for rows in found.values())

    def files(self) -> Iterator[tuple[str, Any, int]]:
        """Yields the name, the bytes and the number of rows of each file."""
        if self._stacks:
            self._batches[STACKS.name] = [batch(STACKS, stack_rows(self._stacks))]
        for name, batches in self._batches.items():
            table = pa.Table.from_batches(batches, BY_NAME[name].schema)
            yield f"{name}.parquet", encoded(table), table.num_rows
        yield FINDINGS, "".join(f"{line}\n" for line in self._findings).encode(), len(self._findings)


def _clock(prefix: str, now: Now) -> dict[str, Any]:
    return {prefix: now.time, f"{prefix}_boot_seconds": now.boot_seconds, "boot_id": now.boot_id}


def _next_run(folder: Path) -> int:
    try:
        before = places.unsealed(folder / META)
    except FileNotFoundError:
        if not places.is_empty(folder):
            raise UsageError(
                f"{folder} has other files in it and is no recording: name a folder that is new, or empty."
            ) from None
        return 0
    return int(before["run"]) + 1


def _locked(folder: Path) -> int:
    """Takes the folder's lock, of which the kernel lets go when this process dies, however it does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EWOULDBLOCK:
            raise UsageError(f"{folder} is being recorded into already: name another folder.") from None
        raise
    return fd


@contextmanager
def _told_as_output(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise OutputError(f"{where} cannot be written: {error.strerror or error}.") from None
