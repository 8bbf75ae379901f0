"""Keeps a recording within a size and an age: which minutes are merged, and which are removed."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kmemtrace.errors import KmemtraceError
from kmemtrace.recording.folder import META, Minute, merged_path, minutes, remove, rename_whole, unsealed

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a recording is kept; None for all."""

    bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Now:
    """A moment by each clock that a minute's age can be told from."""

    time: float
    """Seconds since the epoch."""
    boot_id: str
    boot_seconds: float
    """Seconds since the boot, those asleep included."""

    @classmethod
    def read(cls) -> "Now":
        """Reads the clocks."""
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
        return cls(time.time(), boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))

    def since(self, end: "Now | None") -> float:
        """Returns the seconds since `end`; of one that is not known, 0.

        Within a boot no setting of the clock makes a minute old.
        """
        if end is None:
            return 0.0
        if end.boot_id == self.boot_id:
            return self.boot_seconds - end.boot_seconds
        return self.time - end.time


@dataclass(frozen=True, slots=True)
class Detail:
    """How much of a recording is kept as it was recorded; what is older is merged."""

    seconds: float
    """How old a minute is when it is merged."""
    bytes: int
    """Size of those that are not merged beyond which the oldest of them are, however old."""
    step: float
    """Seconds from one Snapshot to the next in what was merged."""


_HOUR = 3600.0
_MINUTES, _BYTES = 10, 8 << 20
"""So many minutes, or so much of them, are merged at a time."""


@dataclass(frozen=True, slots=True)
class _Kept:
    minute: Minute
    bytes: int
    run: int | None
    """None where it cannot be told, and nothing is merged with it."""
    begin: float
    """Seconds since the boot."""
    end: Now | None

    def goes_on(self, first: "_Kept", before: "_Kept") -> bool:
        """Returns whether it can be in one hour with others, of which these are the first and the last."""
        if self.run is None or self.run != first.run or self.end is None:
            return False
        follows = self.minute.number == before.minute.last + 1
        return follows and self.end.boot_seconds - first.begin <= _HOUR


class Rotation:
    """Knows the minutes of a recording, removes the oldest where they are too many, says which to merge."""

    def __init__(self, folder: Path, limits: Limits, now: Callable[[], Now] = Now.read) -> None:
        self._limits, self._now = limits, now
        self._kept = deque(_kept(one) for one in minutes(folder))
        self.bytes = sum(one.bytes for one in self._kept)
        """Size of all minutes."""

    def add(self, minute: Minute) -> None:
        """Adds a minute that was written, and removes those that are too old or too many.

        The newest always stays.

        Raises:
            OSError: One of them cannot be removed.
        """
        self._kept.append(_kept(minute))
        self.bytes += self._kept[-1].bytes
        while len(self._kept) > 1 and self._is_too_much(self._kept[0]):
            oldest = self._kept.popleft()
            self.bytes -= oldest.bytes
            if oldest.minute.path.exists():  # else somebody else removed it
                remove(oldest.minute.path)

    def _is_too_much(self, oldest: _Kept) -> bool:
        most, seconds = self._limits.bytes, self._limits.seconds
        too_large = most is not None and self.bytes > most
        return too_large or (seconds is not None and self._now().since(oldest.end) > seconds)

    def ripe(self, detail: Detail) -> list[Minute]:
        """Returns the minutes that are to be merged now: some, or none.

        They go on with an hour that was begun to be merged, or begin one.
        """
        now, whole = self._now(), sum(one.bytes for one in _full(self._kept) if one.run is not None)
        found: list[_Kept] = []
        for one in [*self._kept][:-1]:
            if not one.minute.is_merged:
                if now.since(one.end) <= detail.seconds and whole <= detail.bytes:
                    break
                whole -= one.bytes
            if found and not one.goes_on(found[0], found[-1]):
                if _full(found):
                    return [kept.minute for kept in found]
                found = []
            if one.run is not None:
                found.append(one)
        some = _full(found)
        is_worth_it = len(some) >= _MINUTES or sum(one.bytes for one in some) >= _BYTES
        return [kept.minute for kept in found] if is_worth_it else []

    def leave(self, minutes: Collection[Minute]) -> None:
        """Leaves minutes as they are, whatever comes: they cannot be merged."""
        self._kept = deque(replace(one, run=None) if one.minute in minutes else one for one in self._kept)

    def merge(self, group: Sequence[Minute], written: Path) -> None:
        """Puts in place of minutes what they were merged into, unless one of them was removed meanwhile.

        Args:
            group: The minutes.
            written: Where that stands while it is written.

        Raises:
            OSError: It cannot be.
        """
        there = [one.minute for one in self._kept]
        if not all(one in there for one in group):
            shutil.rmtree(written)
            return
        merged = Minute(
            group[0].number, group[-1].last, merged_path(group[0].path.parent, group[0], group[-1])
        )
        rename_whole(written, merged.path)
        place = there.index(group[0])
        kept = [one for one in self._kept if one.minute not in group]
        self._kept = deque([*kept[:place], _kept(merged), *kept[place:]])
        self.bytes = sum(one.bytes for one in self._kept)
        for one in group:
            remove(one.path)


def _full(kept: Iterable[_Kept]) -> list[_Kept]:
    return [one for one in kept if not one.minute.is_merged]


def _kept(minute: Minute) -> _Kept:
    try:
        meta: Mapping[str, Any] = unsealed(minute.path / META)
        clock = meta["clock"]
        end = Now(clock["end"], clock["boot_id"], clock["end_boot_seconds"])
        return _Kept(minute, minute.bytes(), meta["run"], clock["begin_boot_seconds"], end)
    except (KmemtraceError, OSError, KeyError):
        return _Kept(
            minute, minute.bytes(), None, 0.0, None
        )  # whoever reads it is told what is wrong with it
