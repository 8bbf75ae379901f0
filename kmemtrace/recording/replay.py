"""Reads a recording moment by moment, in any direction. One minute of it is in memory at a time."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmemtrace.model.frame import Frame, Position
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import Minute, begin_of
from kmemtrace.recording.moments import ReadMinute
from kmemtrace.recording.reader import File, MergedError, file_of, fitting, listed
from kmemtrace.recording.rows import rows_of
from kmemtrace.recording.schema import FINDINGS, SNAPSHOTS

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
        self._read: ReadMinute | None = None
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
            beside = self._beside(read, towards)
            if beside is None:
                offset = len(read) - 1 if towards > 0 else 0
            elif towards > 0:
                offset, read = offset - len(read) + beside.after(read), beside
            else:
                offset, read = offset + beside.before(read), beside
        return self._frame(read, offset)

    def minute(self, position: Position, towards: int) -> Frame:
        """Returns the first frame of the next minute (1), or of this one or else the one before (-1)."""
        read, offset = self._placed(position, -1)
        if towards < 0 and offset:
            return self._frame(read, 0)
        beside = self._beside(read, towards)
        if beside is None:
            return self.last() if towards > 0 else self.first()
        return self._frame(beside, min(beside.after(read), len(beside) - 1) if towards > 0 else 0)

    def at_part(self, part: float) -> Frame:
        """Returns the frame that is so far in the recording, from 0 to 1."""
        place = part * len(self._minutes)
        which = min(int(place), len(self._minutes) - 1)
        read = self._nearest(self._minutes[which].number, 1)
        return self._frame(read, round(min(1.0, place - which) * (len(read) - 1)))

    def at_time(self, seconds: float) -> Frame:
        """Returns the last frame until a time (seconds since the epoch), or else the first."""
        begun = [one.number for one in self._minutes if begin_of(one) <= seconds]
        if not begun:
            return self.first()
        read = self._nearest(begun[-1], 1)
        later = [offset for offset in range(len(read)) if read.time(offset) > seconds]
        if not later:
            return self._frame(read, len(read) - 1)
        return self.moved(read.position(later[0]), -1)

    def finding(self, position: Position, towards: int) -> Frame | None:
        """Returns the next frame with a finding that is new or was counted on, or the one before (-1).

        None where there is no such frame.
        """
        while True:
            try:
                return self._finding(position, towards)
            except MergedError:
                self._minutes = listed(self._folder)

    def _finding(self, position: Position, towards: int) -> Frame | None:
        for minute in [*self._minutes][::towards]:
            if (minute.last if towards > 0 else -minute.number) < position.minute * towards:
                continue
            found = self._finding_positions(minute)
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

    def _nearest(self, number: int, towards: int) -> ReadMinute:
        """Returns a minute; if it is there no more, the one after (1) or before it (-1), or else any."""
        while True:
            found = self._there(number, towards) or self._there(number, -towards)
            if found is not None:  # else all were removed, and others written, meanwhile
                return found

    def _beside(self, read: ReadMinute, towards: int) -> ReadMinute | None:
        """Returns the minute after another (1) or before it (-1); None at the end, as it is by now."""
        number = read.minute.last + 1 if towards > 0 else read.minute.number - 1
        found = self._there(number, towards)
        if found is None and towards > 0:
            self._minutes = listed(self._folder)
            found = self._there(number, towards)
        return found

    def _there(self, number: int, towards: int) -> ReadMinute | None:
        while True:
            at = self._at(number, towards)
            if not 0 <= at < len(self._minutes):
                return None
            if self._read is not None and self._read.minute == self._minutes[at]:
                return self._read
            file = self._file(at)
            if file is not None:
                self._read = ReadMinute(file)
                return self._read
            self._minutes = listed(self._folder)

    def _at(self, number: int, towards: int) -> int:
        """Returns the place of the minute with a number, or else of the one after (1) or before it (-1)."""
        if towards > 0:
            return bisect_left([one.last for one in self._minutes], number)
        return bisect_right([one.number for one in self._minutes], number) - 1

    def _file(self, at: int) -> File | None:
        """Returns the minute at a place; None where it was removed, or merged into another, or is none."""
        try:
            return file_of(self._minutes[at]) if at >= 0 else None
        except MergedError:
            return None

    def _placed(self, position: Position, towards: int) -> tuple[ReadMinute, int]:
        """Returns where a position is; of a moment that is no more, the place before it (1) or after it."""
        read = self._nearest(position.minute, towards)
        if position.run != read.meta["run"]:
            return read, 0 if read.meta["run"] > position.run else len(read) - 1
        if towards > 0:
            return read, bisect_right(read.moments, position.moment) - 1
        return read, bisect_left(read.moments, position.moment)

    def _frame(self, read: ReadMinute, offset: int) -> Frame:
        before = read.snapshot(offset - 1) if offset else self._end_before(read)
        snapshot = read.snapshot(offset)
        if offset == len(read) - 1:
            self._end = read.meta, snapshot
        place = self._at(read.minute.number, 1) + offset / max(1, len(read) - 1)
        return Frame(
            snapshot,
            before,
            read.position(offset),
            max(
                _LEAST_SECONDS,
                read.meta.get("merged", {}).get("step_seconds", 0.0),
                read.meta["interval_seconds"],
            ),
            min(1.0, place / len(self._minutes)),
        )

    def _end_before(self, read: ReadMinute) -> Snapshot | None:
        """Returns the Snapshot before a minute's first, where that is of the same run and there."""
        if self._end is not None and _follows(read.meta, self._end[0]):
            return self._end[1]
        file = None
        while file is None:
            at = self._at(read.minute.number - 1, -1)
            if at < 0:
                return None
            file = self._file(at)
            if file is None and not self._minutes[at].path.exists():
                newer = listed(self._folder)
                if newer == self._minutes:
                    return None
                self._minutes = newer
        if not _follows(read.meta, file.meta):
            return None
        before = ReadMinute(file)
        return before.snapshot(before.before(read) - 1)

    def _finding_positions(self, minute: Minute) -> list[Position]:
        """Returns the moments of a minute that have a finding which the moment before had not.

        In one that was merged they are not all there: the next one that is has it.
        """
        file = file_of(minute, (SNAPSHOTS, FINDINGS))
        if file is None:
            return []
        with fitting(file):
            rows = rows_of(file.tables)
            moments, found = list(rows[SNAPSHOTS.name]), rows[FINDINGS.name]
            known = self._findings_before(minute, file) if found else set()
            positions = []
            for moment, of_moment in found.items():
                values = _values(of_moment)
                if not values <= known:
                    there = moments[bisect_left(moments, moment)]
                    positions.append(Position(file.meta["run"], there, minute.number))
                known |= values
            return positions

    def _findings_before(self, minute: Minute, file: File) -> set[Any]:
        at = self._minutes.index(minute) - 1
        before = file_of(self._minutes[at], (FINDINGS,)) if at >= 0 else None
        if before is None or not _follows(file.meta, before.meta):
            return set()
        with fitting(before):
            return set().union(*map(_values, rows_of(before.tables)[FINDINGS.name].values()))


def _values(rows: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Returns what rows of findings say, without their places in the list."""
    return {row[-len(FINDINGS.values) - 1 : -1] for row in rows if row[-1]}


def _follows(meta: dict[str, Any], before: dict[str, Any]) -> bool:
    """Returns whether a minute goes on where another one ends, or was merged into it."""
    first, (begin, end) = meta["moments"][0], before["moments"]
    return bool(meta["run"] == before["run"] and begin < first <= end + 1)
