"""Keeps what was held, frame by frame, for the sparklines."""

from array import array
from collections import deque
from collections.abc import Iterable
from itertools import accumulate

from kmemtrace.model.changes import changes
from kmemtrace.model.row import Fold, Row
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.sums import key_of, sums
from kmemtrace.model.view import GroupBy, Place

MOST_FRAMES = 120
_LEVELS = "▁▂▃▄▅▆▇█"


class _Series:
    """What was held, from one change to the next; nothing before the first."""

    __slots__ = ("frames", "gone_at", "pages")

    def __init__(self) -> None:
        self.frames, self.pages = array("q"), array("q")
        """Numbers of the frames from which on so much was held."""
        self.gone_at: int | None = None
        """Number of the frame from which on it is not there; None while it is."""

    def add(self, frame: int, pages: int, first: int) -> None:
        """Tells what is held from a frame on; what was before the frame `first` is not asked for any more."""
        if pages == (self.pages[-1] if self.pages else 0):
            return
        self.frames.append(frame)
        self.pages.append(pages)
        while len(self.frames) > 1 and self.frames[1] <= first:
            del self.frames[0], self.pages[0]


class History:
    """Keeps the held pages of all that a row can be of, for some hundred frames.

    What stays as it is costs nothing with a frame, and a change sixteen bytes.
    """

    def __init__(self, by: GroupBy) -> None:
        self._by = by
        self._cgroups: tuple[Cgroup, ...] = ()
        self._series: dict[str, _Series] = {}
        self._places: dict[str, Place] = {}
        self._times: deque[float] = deque(maxlen=MOST_FRAMES)
        self._frame = 0
        """Number of the newest frame."""
        self._ended: deque[tuple[int, str]] = deque()
        """Series of what is gone, and since which frame, the longest first."""

    def add(self, snapshot: Snapshot) -> None:
        self._times.append(snapshot.time)
        self._frame += 1
        gone, held = self._changed(snapshot)
        for key, pages in held.items():
            series = self._series.get(key)
            if series is None:
                self._series[key] = series = _Series()
            series.add(self._frame, pages, self._first)
            series.gone_at = None
        for key in gone:
            series = self._series[key]
            series.add(self._frame, 0, self._first)
            series.gone_at = self._frame
            self._ended.append((self._frame, key))
        while self._ended and self._ended[0][0] <= self._first:
            frame, key = self._ended.popleft()
            if key in self._series and self._series[key].gone_at == frame:
                del self._series[key]
                self._places.pop(key, None)

    @property
    def _first(self) -> int:
        """Number of the oldest frame that is kept."""
        return self._frame - len(self._times) + 1

    def of(self, row: Row, *, narrowed: bool) -> list[int]:
        """Returns the held pages in each frame, the newest last.

        For a closed parent that includes what is gone since: with what is left alone, its past would be too
        little. For what a filter found it is that alone.

        Args:
            row: The row.
            narrowed: Whether the view is narrowed, as by a filter.
        """
        if not self._by.has_cgroups:
            keys: Iterable[str] = [row.key]
        elif row.fold is Fold.CLOSED and not narrowed:
            keys = [key for key, place in self._places.items() if _is_below(place, row.place)]
        else:
            keys = map(key_of, row.sums.all_cgroups())
        found = [self._series[key] for key in keys if key in self._series]
        steps = [0] * len(self._times) if found else []
        for series in found:
            before = 0
            for frame, pages in zip(series.frames, series.pages, strict=True):
                steps[max(0, frame - self._first)] += pages - before
                before = pages
        return list(accumulate(steps))

    def seconds(self, frames: int) -> float:
        """Returns the seconds from the first to the last of the newest frames, so many of them."""
        return self._times[-1] - self._times[-frames]

    def _changed(self, snapshot: Snapshot) -> tuple[set[str], dict[str, int]]:
        """Returns the keys of what is gone since the frame before; and what is held where that changed."""
        if not self._by.has_cgroups:
            there = {key: one.held for key, one in sums(snapshot, self._by).items()}
            return {key for key, one in self._series.items() if one.gone_at is None} - there.keys(), there
        left, come = changes(self._cgroups, snapshot.cgroups)
        self._cgroups = snapshot.cgroups
        self._places |= {key_of(cgroup): Place(cgroup.host, cgroup.path) for cgroup in come}
        held = {key_of(cgroup): cgroup.held_pages for cgroup in come}
        return set(map(key_of, left)) - held.keys(), held


def _is_below(place: Place, above: Place) -> bool:
    if place.host != above.host:
        return False
    return above.path in ("/", place.path) or place.path.startswith(f"{above.path}/")


def sparkline(values: list[int]) -> str:
    """Draws values from the least of them (low) to the most (high)."""
    least, most = min(values), max(values)
    steps = len(_LEVELS) - 1
    return "".join(_LEVELS[steps * (v - least) // (most - least) if most > least else 0] for v in values)
