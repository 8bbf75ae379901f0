"""Reads a recording moment by moment, in any direction. One minute of it is in memory at a time."""

import calendar
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmemtrace.model.frame import Frame, Position
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import META, Minute, damaged
from kmemtrace.recording.reader import File, file_of, fitting, listed
from kmemtrace.recording.rebuilt import snapshot_of
from kmemtrace.recording.rows import NANOSECONDS, rows_of, stacks_of, states
from kmemtrace.recording.schema import FINDINGS

_LEAST_SECONDS = 0.001
"""Between moments that were recorded as fast as could be."""


class Replay:
    """Gives the frames of a recording, which may be written and rotated meanwhile.

    A minute that is removed while it is wanted is taken for the nearest one that is there. Every method may
    raise DamagedError, and UsageError where the recording is there no more.
    """

    def __init__(self, folder: Path) -> None:
        """Lists the minutes, and reads none yet.

        Raises:
            DamagedError: Its meta.json is not as it was written.
            UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
        """
        self._folder = folder
        self._minutes = listed(folder)
        self._read: _Read | None = None
        self._end: tuple[dict[str, Any], Snapshot] | None = None
        """Of the last minute whose last Snapshot was made, the meta.json and that."""

    @property
    def meta(self) -> dict[str, Any]:
        """What meta.json tells of the minute that was read last: kernel, tier, the plan; empty before."""
        return {} if self._read is None else self._read.meta

    def first(self) -> Frame:
        """Returns the first frame."""
        return self._frame(self._nearest(self._minutes[0].number, 1), 0)

    def last(self) -> Frame:
        """Returns the last frame that is there by now."""
        self._minutes = listed(self._folder)
        read = self._nearest(self._minutes[-1].number, -1)
        return self._frame(read, len(read) - 1)

    def moved(self, position: Position, by: int) -> Frame:
        """Returns the frame so many moments after a position, or before it; at the ends that at the end."""
        towards = 1 if by > 0 else -1
        read, offset = self._placed(position, towards)
        offset += by
        while not 0 <= offset < len(read):
            beside = self._beside(read.number, towards)
            if beside is None:
                offset = len(read) - 1 if towards > 0 else 0
            elif towards > 0:
                offset, read = offset - len(read), beside
            else:
                offset, read = offset + len(beside), beside
        return self._frame(read, offset)

    def minute(self, position: Position, towards: int) -> Frame:
        """Returns the first frame of the next minute (1), or of this one or else the one before (-1)."""
        if towards < 0 and position.offset:
            return self._frame(self._nearest(position.minute, -1), 0)
        beside = self._beside(position.minute, towards)
        if beside is None:
            return self.last() if towards > 0 else self.first()
        return self._frame(beside, 0)

    def at_part(self, part: float) -> Frame:
        """Returns the frame that is so far in the recording, from 0 to 1."""
        place = part * len(self._minutes)
        which = min(int(place), len(self._minutes) - 1)
        read = self._nearest(self._minutes[which].number, 1)
        return self._frame(read, round(min(1.0, place - which) * (len(read) - 1)))

    def at_time(self, seconds: float) -> Frame:
        """Returns the last frame until a time (seconds since the epoch), or else the first."""
        begun = [one.number for one in self._minutes if _begin(one) <= seconds]
        if not begun:
            return self.first()
        read = self._nearest(begun[-1], 1)
        later = [offset for offset in range(len(read)) if read.time(offset) > seconds]
        if not later:
            return self._frame(read, len(read) - 1)
        return self.moved(Position(read.number, later[0]), -1)

    def finding(self, position: Position, towards: int) -> Frame | None:
        """Returns the next frame with a finding that is new or was counted on, or the one before (-1).

        None where there is no such frame.
        """
        for minute in [*self._minutes][::towards]:
            if (minute.number - position.minute) * towards < 0:
                continue
            found = [Position(minute.number, offset) for offset in self._finding_offsets(minute)]
            found = [one for one in found if (one > position if towards > 0 else one < position)]
            if found:
                return self._frame(*self._placed(found[0] if towards > 0 else found[-1], towards))
        return None

    def frames(self, begin: Frame | None = None) -> Iterator[Frame]:
        """Yields all frames from one on (None: the first), to the end as it is when that is reached."""
        frame, before = begin or self.first(), None
        while before is None or frame.position != before:
            yield frame
            before = frame.position
            frame = self.moved(before, 1)

    def _nearest(self, number: int, towards: int) -> "_Read":
        """Returns a minute; if it is there no more, the one after (1) or before it (-1), or else any."""
        while True:
            found = self._there(number, towards) or self._there(number, -towards)
            if found is not None:  # else all were removed, and others written, meanwhile
                return found

    def _beside(self, number: int, towards: int) -> "_Read | None":
        """Returns the minute after another (1) or before it (-1); None at the end, as it is by now."""
        found = self._there(number + towards, towards)
        if found is None and towards > 0:
            self._minutes = listed(self._folder)
            found = self._there(number + towards, towards)
        return found

    def _there(self, number: int, towards: int) -> "_Read | None":
        while True:
            numbers = [one.number for one in self._minutes]
            at = bisect_left(numbers, number) if towards > 0 else bisect_right(numbers, number) - 1
            if not 0 <= at < len(numbers):
                return None
            if self._read is not None and self._read.number == numbers[at]:
                return self._read
            file = file_of(self._minutes[at])
            if file is not None:
                self._read = _Read(numbers[at], file)
                return self._read
            self._minutes = listed(self._folder)

    def _placed(self, position: Position, towards: int) -> "tuple[_Read, int]":
        read = self._nearest(position.minute, towards)
        if read.number == position.minute:
            return read, min(position.offset, len(read) - 1)
        return read, 0 if read.number > position.minute else len(read) - 1

    def _frame(self, read: "_Read", offset: int) -> Frame:
        before = read.snapshot(offset - 1) if offset else self._end_before(read)
        snapshot = read.snapshot(offset)
        if offset == len(read) - 1:
            self._end = read.meta, snapshot
        numbers = [one.number for one in self._minutes]
        place = bisect_left(numbers, read.number) + offset / max(1, len(read) - 1)
        return Frame(
            snapshot,
            before,
            Position(read.number, offset),
            read.meta["run"],
            max(_LEAST_SECONDS, read.meta["interval_seconds"]),
            min(1.0, place / len(numbers)),
        )

    def _end_before(self, read: "_Read") -> Snapshot | None:
        """Returns the Snapshot before a minute's first, where that is of the same run and there."""
        if self._end is not None and _follows(read.meta, self._end[0]):
            return self._end[1]
        numbers = [one.number for one in self._minutes]
        at = bisect_left(numbers, read.number) - 1
        file = file_of(self._minutes[at]) if at >= 0 else None
        if file is None or not _follows(read.meta, file.meta):
            return None
        before = _Read(numbers[at], file)
        return before.snapshot(len(before) - 1)

    def _finding_offsets(self, minute: Minute) -> list[int]:
        """Returns the moments of a minute that have a finding which the moment before had not."""
        file = file_of(minute, (FINDINGS,))
        if file is None:
            return []
        with fitting(file):
            rows = rows_of(file.tables)[FINDINGS.name]
            if not rows:
                return []
            known = self._findings_before(minute, file)
            offsets = []
            for moment, found in rows.items():
                values = _values(found)
                if not values <= known:
                    offsets.append(moment - file.meta["moments"][0])
                known |= values
            return offsets

    def _findings_before(self, minute: Minute, file: File) -> set[Any]:
        at = self._minutes.index(minute) - 1
        before = file_of(self._minutes[at], (FINDINGS,)) if at >= 0 else None
        if before is None or not _follows(file.meta, before.meta):
            return set()
        with fitting(before):
            return set().union(*map(_values, rows_of(before.tables)[FINDINGS.name].values()))


class _Read:
    """A minute that was read, and the Snapshot of it that was made last."""

    def __init__(self, number: int, file: File) -> None:
        self.number, self.meta, self._file = number, file.meta, file
        with fitting(file):
            self._rows = rows_of(file.tables)
            self._stacks = stacks_of(file.tables["stacks"])
            self._times: list[int] = [row[2] for (row,) in self._rows["snapshots"].values()]
        file.tables.clear()  # all of it is in the rows
        if not self._times:
            raise damaged(file.path / META, "it has no moment")
        self._restart()

    def _restart(self) -> None:
        self._states, self._at = states(self._rows), -1
        self._snapshot: Snapshot | None = None

    def __len__(self) -> int:
        return len(self._times)

    def time(self, offset: int) -> float:
        """Returns the time of a moment."""
        return self._times[offset] / NANOSECONDS

    def snapshot(self, offset: int) -> Snapshot:
        """Returns the Snapshot of a moment; those before the last one are made from the begin again."""
        if offset < self._at:
            self._restart()
        if offset == self._at and self._snapshot is not None:
            return self._snapshot
        with fitting(self._file):
            for _, seconds, state in self._states:
                self._at += 1
                if self._at == offset:
                    self._snapshot = snapshot_of(state, seconds, self._stacks)
                    return self._snapshot
        raise AssertionError("a minute has as many states as moments")


def _values(rows: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Returns what rows of findings say, without their places in the list."""
    return {row[-len(FINDINGS.values) - 1 : -1] for row in rows if row[-1]}


def _follows(meta: dict[str, Any], before: dict[str, Any]) -> bool:
    """Returns whether a minute goes on where another one ends."""
    return bool(meta["run"] == before["run"] and meta["moments"][0] == before["moments"][1] + 1)


def _begin(minute: Minute) -> int:
    """Returns when a minute begins, as its name has it, in seconds since the epoch."""
    return calendar.timegm(time.strptime(minute.path.name.partition("-")[2], "%Y%m%dT%H%M%SZ"))
