"""Chooses the moments of a recording that a report is of, and puts them into bins."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kmemtrace.errors import UsageError
from kmemtrace.history.ahead import read_ahead
from kmemtrace.recording.reader import File, columns, headers
from kmemtrace.text import epoch, utc

_COLUMNS = {"snapshots": ("run", "moment", "time", "watched_seconds", "page_size", "host")}
_STEP = 1e-3
"""Seconds by which a point stands after the one before at least, whatever was done to the clock."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Moments of one run that follow each other, shown as one point."""

    run: int
    first: int
    """Number of its first moment in its run."""
    last: int
    time: float
    """When its last moment was, in seconds since the epoch, as Timeline.at() has it."""
    seconds: float
    """How long it lasts: since the last moment before it, or since the begin of the run."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of a range lies in one minute of a recording."""

    file: File
    bins: tuple[tuple[int, int], ...]
    """Number of each bin that ends in this minute, with its last moment."""
    last: int
    """The last of its moments."""
    baseline: int | None
    """The moment in it whose counts nothing is known before, so that they are the range's zero; None where
    the run begins in it, or where the minute before is in the range."""
    begins_run: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The moments that a report is of."""

    bins: tuple[Bin, ...]
    stretches: tuple[Stretch, ...]
    moments: int
    """How many Snapshots there are."""
    begin: float
    """Seconds since the epoch of the first one."""
    end: float
    page_size: int
    host: str
    minutes_left_out: int
    """Minutes that were removed while they were read."""

    @property
    def seconds(self) -> float:
        """How long was watched in it: what lies between two runs was not."""
        return sum(one.seconds for one in self.bins)

    @property
    def runs(self) -> tuple[int, ...]:
        """The runs that it is of."""
        return tuple(sorted({one.run for one in self.bins}))


@dataclass(frozen=True, slots=True)
class _Moments:
    """All moments of a recording, in their order: an array for each of what is told of them."""

    file: Any
    run: Any
    number: Any
    time: Any
    watched: Any

    def part(self, begin: int, end: int) -> "_Moments":
        """Returns those from one place to another, which is not among them."""
        return _Moments(*(getattr(self, name)[begin:end] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.run)


def timeline(folder: Path, most: int, since: str | None = None, until: str | None = None) -> Timeline:
    """Chooses what a report is of.

    Args:
        folder: The recording.
        most: How many bins there may be, two at least, and at least one for each run.
        since: When it begins, as parse_time() reads it; None for the begin of the recording.
        until: When it ends.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, or nothing was recorded then.
    """
    listed = headers(folder)
    both = read_ahead(listed, lambda file: columns(file, _COLUMNS))
    read = [(file, found) for file, found in both if found is not None]
    tables = [found["snapshots"] for _, found in read]
    if not sum(table.num_rows for table in tables):
        raise UsageError(
            f"{folder} has no Snapshot in it any more: its minutes were removed while it was read."
        )
    moments = _moments(tables)
    begin, end = _range(moments, since, until)
    chosen = moments.part(begin, end)
    bins, which = _bins(chosen, most)
    last = tables[int(chosen.file[-1])]
    return Timeline(
        bins=bins,
        stretches=tuple(_stretches(chosen, which, [file for file, _ in read])),
        moments=len(chosen),
        begin=float(chosen.time[0]),
        end=float(chosen.time[-1]),
        page_size=last["page_size"][-1].as_py(),
        host=last["host"][-1].as_py(),
        minutes_left_out=len(listed) - len(read),
    )


def parse_time(text: str, begin: float) -> float:
    """Returns the seconds since the epoch that a text names.

    Args:
        text: Date and time as ISO 8601 has them, in UTC where no offset is named; or a time alone: the first
            one from the recording's begin on.
        begin: When the recording begins.

    Raises:
        UsageError: It is no time.
    """
    try:
        if "-" in text[1:] or "T" in text:
            return epoch(text)
        day = datetime.fromtimestamp(begin, UTC).date().isoformat()
        seconds = datetime.fromisoformat(f"{day}T{text}").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: write it as 2026-03-01T12:05:00, which is UTC, or as 12:05."
        ) from None
    return seconds if seconds >= begin - 60 else seconds + 86_400


def _moments(tables: list[Any]) -> _Moments:
    def column(name: str, type_: str) -> Any:
        return np.concatenate([table[name].cast(type_).to_numpy() for table in tables])

    return _Moments(
        file=np.repeat(np.arange(len(tables)), [table.num_rows for table in tables]),
        run=column("run", "int64"),
        number=column("moment", "int64"),
        time=column("time", "int64") / 1e9,
        watched=column("watched_seconds", "float64"),
    )


def _range(moments: _Moments, since: str | None, until: str | None) -> tuple[int, int]:
    """Returns the places of the first moment and of the one after the last."""
    recorded = float(moments.time[0]), float(moments.time[-1])
    begin, end = 0, len(moments)
    if since is not None:
        later = np.flatnonzero(moments.time >= parse_time(since, recorded[0]))
        begin = int(later[0]) if len(later) else end
    if until is not None:
        earlier = np.flatnonzero(moments.time < np.nextafter(parse_time(until, recorded[0]), np.inf))
        end = int(earlier[-1]) + 1 if len(earlier) else 0
    if begin >= end:
        raise UsageError(
            "Nothing was recorded in that range: the recording is of "
            f"{utc(recorded[0])} to {utc(recorded[1])} UTC."
        )
    return begin, end


def _bins(moments: _Moments, most: int) -> tuple[tuple[Bin, ...], Any]:
    """Returns the bins, and for each moment the number of the one that it is in."""
    count = len(moments)
    # The first moment stands alone, so that what changed in the range can be told.
    place = np.r_[0, 1 + np.arange(count - 1) * min(most - 1, count) // max(1, count - 1)]
    begins = np.r_[True, (np.diff(place) != 0) | (np.diff(moments.run) != 0)]
    which = np.cumsum(begins) - 1
    firsts = np.flatnonzero(begins)
    lasts = np.r_[firsts[1:] - 1, count - 1]
    found: list[Bin] = []
    offset = 0.0
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        run, watched = int(moments.run[last]), float(moments.watched[last])
        before = first - 1 if first and moments.run[first - 1] == run else None
        if before is None:
            # Counting began with the run; of one whose begin is not there, with its first moment.
            zero = 0.0 if moments.number[first] == 0 else float(moments.watched[first])
            offset = float(moments.time[first] - moments.watched[first])
        else:
            zero = float(moments.watched[before])
        at = max(offset + watched, found[-1].time + _STEP) if found else offset + watched
        numbers = int(moments.number[first]), int(moments.number[last])
        found.append(Bin(run, *numbers, time=at, seconds=max(0.0, watched - zero)))
    return tuple(found), which


def _stretches(moments: _Moments, which: Any, files: list[File]) -> Iterator[Stretch]:
    edges = np.flatnonzero(np.diff(moments.file)) + 1
    run = None
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(moments)], strict=True):
        part, bins = moments.part(begin, end), which[begin:end]
        following = which[end] if end < len(moments) else -1
        ends = np.flatnonzero(np.diff(np.r_[bins, following])).tolist()
        begins_run = int(part.run[0]) != run
        run = int(part.run[0])
        yield Stretch(
            file=files[int(part.file[0])],
            bins=tuple((int(bins[place]), int(part.number[place])) for place in ends),
            last=int(part.number[-1]),
            baseline=int(part.number[0]) if begins_run and part.number[0] else None,
            begins_run=begins_run,
        )
