"""Follows the rows of a table over time: what stood at the end of each bin, and what was counted within it.

Only what is there takes room, so that cgroups that come and go by the thousand cost no more than they did.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kmemtrace.history.ahead import read_ahead
from kmemtrace.history.timeline import Stretch
from kmemtrace.recording.hashes import hashes
from kmemtrace.recording.reader import columns

_FIRST_ROOM = 1024
Detail = dict[str, Any]


@dataclass(frozen=True, slots=True)
class What:
    """What of a table is followed."""

    table: str
    keys: tuple[str, ...]
    """Columns that tell what a row is of."""
    needs: tuple[str, ...]
    """Columns that the values are made of."""
    values: Callable[[Any], list[Any]]
    """Makes an array of each value of an Arrow table's rows: of those that stand, then of those counted."""
    standing: tuple[str, ...] = ()
    """Names of values that are as they are at a moment."""
    counted: tuple[str, ...] = ()
    """Names of values that are counted from a start on."""
    details: tuple[str, ...] = ()
    """Columns that are kept of a key's first row, besides its keys."""
    width: int = 1
    """How many numbers each value has: the buckets of a histogram."""


class Counts:
    """Values of each key of a table, over the bins of a timeline."""

    def __init__(self, what: What, group: Callable[[Detail], int] | None = None) -> None:
        """Has no keys yet.

        Args:
            what: What is followed.
            group: Tells the number of the group that a key is in, less than 0 for none; where it is given,
                only sums of groups are kept.
        """
        self.what = what
        self.details: list[Detail] = []
        """Of each key, the columns that make it and those that are kept of its first row."""
        self._group = group
        self._groups: list[int] = []
        self._numbers: dict[int, int] = {}
        self._newest: tuple[Any, Any] = (np.zeros(0, np.uint64), np.zeros(0, np.int64))
        names = (*what.standing, *what.counted)
        self._place = {name: place for place, name in enumerate(names)}
        shape = (_FIRST_ROOM, what.width) if what.width > 1 else (_FIRST_ROOM,)
        self._now = [np.zeros(shape, np.int64) for _ in names]
        self._before = [np.zeros(shape, np.int64) for _ in what.counted]
        self._there = np.zeros(_FIRST_ROOM, bool)
        self._peak = np.zeros(_FIRST_ROOM, np.int64)
        self._found: list[tuple[int, Any, list[Any]]] = []

    @property
    def peak(self) -> Any:
        """The highest of the first standing value of each key, at any moment."""
        return self._peak[: len(self.details)]

    def follow(self, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
        """Reads the table, stretch by stretch, and yields each when it has been read."""
        wanted = {
            self.what.table: {*self.what.keys, *self.what.needs, *self.what.details, "moment", "present"}
        }
        for stretch, found in read_ahead(stretches, lambda one: columns(one.file, wanted)):
            if found is not None:
                self.add(found[self.what.table], stretch)
                yield stretch

    def add(self, table: Any, stretch: Stretch) -> None:
        """Adds the rows of a minute."""
        moment = table["moment"].to_numpy()
        present = table["present"].to_numpy()
        # Ids of cgroups are given out again after a boot.
        numbers = self._known(table, present, stretch.file.meta["clock"]["boot_id"])
        values = self.what.values(table)
        if stretch.begins_run:
            for kept in (*self._now, *self._before):
                kept[:] = 0
        self._there[:] = False  # each minute tells all that is there
        begin = 0
        if stretch.baseline is not None:
            begin = int(np.searchsorted(moment, stretch.baseline, "right"))
            self._apply(slice(0, begin), numbers, present, values)
            self._remember()
            if self.what.standing and not self._found:  # what was before the range is no peak of it
                self._peak[:] = np.where(self._there, self._now[0], 0)
        for bin_, last in stretch.bins:
            end = int(np.searchsorted(moment, last, "right"))
            self._apply(slice(begin, end), numbers, present, values)
            self._keep(bin_)
            begin = end
        end = int(np.searchsorted(moment, stretch.last, "right"))
        self._apply(slice(begin, end), numbers, present, values)

    def _apply(self, rows: slice, numbers: Any, present: Any, values: list[Any]) -> None:
        """Has the state be that after some rows; of a key with several the last one counts."""
        of, there = numbers[rows], present[rows]
        known = of >= 0
        self._there[of[known]] = there[known]
        shown = of[there]
        for kept, value in zip(self._now, values, strict=True):
            kept[shown] = value[rows][there]
        if self.what.standing:
            np.maximum.at(self._peak, shown, values[0][rows][there])

    def _remember(self) -> None:
        self._before = [kept.copy() for kept in self._now[len(self.what.standing) :]]

    def _keep(self, bin_: int) -> None:
        """Keeps what stands now, and what was counted since the bin before."""
        size, first = len(self.details), len(self.what.standing)
        values = [np.where(self._there[:size], kept[:size], 0) for kept in self._now[:first]]
        for kept, before in zip(self._now[first:], self._before, strict=True):
            now, change = kept[:size], kept[:size] - before[:size]
            values.append(np.where(change < 0, now, change))  # a key that came anew counts from zero again
        self._remember()
        if self._group is not None:
            groups = np.array(self._groups, np.int64)
            values = [_summed(groups, value, max(self._groups, default=-1) + 1) for value in values]
        any_ = np.logical_or.reduce([one != 0 for one in values])
        which = np.flatnonzero(any_.any(axis=1) if any_.ndim > 1 else any_)
        self._found.append((bin_, which.astype(np.int32), [one[which] for one in values]))

    def grouped(self, name: str, groups: Any, count: int, bins: int) -> Any:
        """Adds a value up over groups of keys.

        Args:
            name: Name of the value.
            groups: Of each key, or of each group that this was made with, the number of its group; less than
                0 for none.
            count: How many groups there are.
            bins: How many bins there are.

        Returns:
            An array by group and bin, and bucket if it is wide.
        """
        width = (self.what.width,) if self.what.width > 1 else ()
        summed = np.zeros((bins, count, *width), np.int64)
        for bin_, which, values in self._found:
            summed[bin_] += _summed(groups[which], values[self._place[name]], count)
        return summed.swapaxes(0, 1)

    def last(self, name: str, bins: int) -> Any:
        """Returns a value of each key as it stood at the end."""
        return self._single(name, lambda bin_: bin_ == bins - 1)

    def first(self, name: str) -> Any:
        """Returns a value of each key as it stood at the begin."""
        return self._single(name, lambda bin_: bin_ == 0)

    def total(self, name: str) -> Any:
        """Returns a value of each key, added up over all bins."""
        return self._single(name, lambda _: True)

    def where(self, name: str) -> Iterator[tuple[int, Any]]:
        """Yields for each bin, in their order, the keys whose value is not 0 in it."""
        for bin_, which, values in self._found:
            yield bin_, which[values[self._place[name]] != 0]

    def _single(self, name: str, wanted: Callable[[int], bool]) -> Any:
        found = np.zeros(len(self.details), np.int64)
        for bin_, which, values in self._found:
            if wanted(bin_):
                found[which] += values[self._place[name]]
        return found

    def _known(self, table: Any, present: Any, boot: str) -> Any:
        """Returns the number of each row's key, those that are new included.

        It is -1 of a row that tells of a key that it is there no more, and that never was in the range.
        """
        found = hashes([table[name] for name in self.what.keys], boot)
        shown = np.flatnonzero(present)
        unique, first, inverse = np.unique(found[shown], return_index=True, return_inverse=True)
        # Most minutes have the keys of the one before.
        if not np.array_equal(unique, self._newest[0]):
            self._newest = unique, self._numbered(unique, shown[first], table)
        numbers = self._newest[1]
        every = np.empty(len(found), np.int64)
        every[shown] = numbers[inverse]
        for row in np.flatnonzero(~present).tolist():
            every[row] = self._numbers.get(int(found[row]), -1)
        return every

    def _numbered(self, unique: Any, rows: Any, table: Any) -> Any:
        """Returns the numbers of hashes of keys, and keeps the details of those that are new."""
        known = [self._numbers.get(one, -1) for one in unique.tolist()]
        numbers = np.array(known, np.int64)
        new = np.flatnonzero(numbers < 0)
        if len(new):
            numbers[new] = np.arange(len(self._numbers), len(self._numbers) + len(new))
            self._numbers.update(zip(unique[new].tolist(), numbers[new].tolist(), strict=True))
            wanted = table.select([*self.what.keys, *self.what.details])
            details = wanted.take(pa.array(rows[new])).to_pylist()
            self.details += details
            if self._group is not None:
                self._groups += map(self._group, details)
            self._make_room(len(self.details))
        return numbers

    def _make_room(self, size: int) -> None:
        if size <= len(self._there):
            return
        more = max(size, 2 * len(self._there)) - len(self._there)

        def longer(kept: Any) -> Any:
            return np.concatenate([kept, np.zeros((more, *kept.shape[1:]), kept.dtype)])

        self._now, self._before = list(map(longer, self._now)), list(map(longer, self._before))
        self._there, self._peak = longer(self._there), longer(self._peak)


def _summed(groups: Any, values: Any, count: int) -> Any:
    summed = np.zeros((count, *values.shape[1:]), np.int64)
    kept = groups >= 0
    np.add.at(summed, groups[kept], values[kept])
    return summed
