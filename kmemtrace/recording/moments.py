"""Makes the Snapshots of a minute that was read, one at a time."""

from bisect import bisect_left, bisect_right

from kmemtrace.model.frame import Position
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import META, damaged
from kmemtrace.recording.reader import File, fitting
from kmemtrace.recording.rebuilt import snapshot_of
from kmemtrace.recording.rows import NANOSECONDS, rows_of, stacks_of, states


class ReadMinute:
    """A minute that was read, and the Snapshot of it that was made last."""

    def __init__(self, file: File) -> None:
        self.minute, self.meta, self._file = file.minute, file.meta, file
        with fitting(file):
            self._rows = rows_of(file.tables)
            self._stacks = stacks_of(file.tables["stacks"])
            self.moments = list(self._rows["snapshots"])
            self._times: list[int] = [row[2] for (row,) in self._rows["snapshots"].values()]
        file.tables.clear()  # all of it is in the rows
        if not self._times:
            raise damaged(file.path / META, "it has no moment")
        self._restart()

    def after(self, other: "ReadMinute") -> int:
        """Returns how many moments are until the end of another minute: some, if it was merged into this."""
        return bisect_right(self.moments, other.moments[-1]) if other.meta["run"] == self.meta["run"] else 0

    def before(self, other: "ReadMinute") -> int:
        """Returns how many moments are before another minute: all, unless it was merged into this."""
        if other.meta["run"] != self.meta["run"]:
            return len(self)
        return bisect_left(self.moments, other.moments[0])

    def position(self, offset: int) -> Position:
        """Returns the position of a moment."""
        return Position(self.meta["run"], self.moments[offset], self.minute.number)

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
