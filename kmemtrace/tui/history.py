"""Keeps what was held, frame by frame, for the sparklines."""

from array import array
from collections import deque
from collections.abc import Iterable

from kmemtrace.model.row import Fold, Row
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.sums import sums
from kmemtrace.model.view import GroupBy, Place

MOST_FRAMES = 120
_LEVELS = "▁▂▃▄▅▆▇█"


class History:
    """Keeps the held pages of all that a row can be of, for some hundred frames: eight bytes each."""

    def __init__(self, by: GroupBy) -> None:
        self._by = by
        self._series: dict[str, array[int]] = {}
        self._places: dict[str, Place] = {}
        self._times: deque[float] = deque(maxlen=MOST_FRAMES)

    def add(self, snapshot: Snapshot) -> None:
        held = self._held(snapshot)
        length = len(self._times)
        for key, pages in held.items():
            series = self._series.get(key)
            if series is None:
                self._series[key] = series = array("q", bytes(8 * length))
            series.append(pages)
        for key in [key for key in self._series if key not in held]:
            self._series[key].append(0)
            if not any(self._series[key]):
                del self._series[key]
        if length == MOST_FRAMES:
            for series in self._series.values():
                del series[0]
        self._times.append(snapshot.time)

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
            keys = [_key(cgroup) for cgroup in row.sums.all_cgroups()]
        found = [self._series[key] for key in keys if key in self._series]
        return [sum(frame) for frame in zip(*found, strict=True)]

    def seconds(self, frames: int) -> float:
        """Returns the seconds from the first to the last of the newest frames, so many of them."""
        return self._times[-1] - self._times[-frames]

    def _held(self, snapshot: Snapshot) -> dict[str, int]:
        if not self._by.has_cgroups:
            return {key: one.held for key, one in sums(snapshot, self._by).items()}
        self._places = {k: p for k, p in self._places.items() if k in self._series}
        self._places |= {_key(c): Place(c.host, c.path) for c in snapshot.cgroups}
        return {_key(cgroup): cgroup.held_pages for cgroup in snapshot.cgroups}


def _key(cgroup: Cgroup) -> str:
    return f"{cgroup.key.hierarchy}:{cgroup.key.id}"


def _is_below(place: Place, above: Place) -> bool:
    if place.host != above.host:
        return False
    return above.path in ("/", place.path) or place.path.startswith(f"{above.path}/")


def sparkline(values: list[int]) -> str:
    """Draws values from the least of them (low) to the most (high)."""
    least, most = min(values), max(values)
    steps = len(_LEVELS) - 1
    return "".join(_LEVELS[steps * (v - least) // (most - least) if most > least else 0] for v in values)
