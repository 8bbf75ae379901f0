"""Removes the oldest minutes of a recording, so that it stays within a size and an age."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmemtrace.errors import KmemtraceError
from kmemtrace.recording.folder import META, Minute, minutes, remove, unsealed

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
class _Kept:
    path: Path
    bytes: int
    end: Now | None


class Rotation:
    """Knows the minutes of a recording, and removes the oldest where they are too many."""

    def __init__(self, folder: Path, limits: Limits, now: Callable[[], Now] = Now.read) -> None:
        self._limits, self._now = limits, now
        self._kept = deque(_kept(one, _end(one)) for one in minutes(folder))
        self.bytes = sum(one.bytes for one in self._kept)
        """Size of all minutes."""

    def add(self, minute: Minute, end: Now) -> None:
        """Adds a minute that was written, and removes those that are too old or too many.

        The newest always stays.

        Raises:
            OSError: One of them cannot be removed.
        """
        self._kept.append(_kept(minute, end))
        self.bytes += self._kept[-1].bytes
        while len(self._kept) > 1 and self._is_too_much(self._kept[0]):
            oldest = self._kept.popleft()
            self.bytes -= oldest.bytes
            if oldest.path.exists():  # else somebody else removed it
                remove(oldest.path)

    def _is_too_much(self, oldest: _Kept) -> bool:
        most, seconds = self._limits.bytes, self._limits.seconds
        too_large = most is not None and self.bytes > most
        return too_large or (seconds is not None and self._now().since(oldest.end) > seconds)


def _kept(minute: Minute, end: Now | None) -> _Kept:
    return _Kept(minute.path, minute.bytes(), end)


def _end(minute: Minute) -> Now | None:
    try:
        clock: Mapping[str, Any] = unsealed(minute.path / META)["clock"]
        return Now(clock["end"], clock["boot_id"], clock["end_boot_seconds"])
    except (KmemtraceError, OSError, KeyError):
        return None  # whoever reads it is told what is wrong with it
