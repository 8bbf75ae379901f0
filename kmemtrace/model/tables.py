"""Makes the table of one Snapshot after the other, and works out anew only what changed."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from kmemtrace.model.changes import changes
from kmemtrace.model.columns import value_of
from kmemtrace.model.enums import CgroupState, MismatchClass
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.ordered import exchanged
from kmemtrace.model.row import Row, Span, latency_shown
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.sums import Sums, key_of, sums, sums_of_cgroup
from kmemtrace.model.tree import tree
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, SortKey, View

_LATE = 1e9
"""So many seconds after the start ages are compared, whenever a table is made: the order of them stays then,
while they grow."""

_Rank = tuple[float | str, ...]
_rank = itemgetter(0)


class Table:
    """Rows in their order; each is made when it is asked for, as a screen shows few of thousands."""

    def __init__(self, keys: Sequence[str], row: Callable[[int], Row]) -> None:
        """Takes what makes the row of a place in `keys`."""
        self.keys, self._row = keys, row

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, at: int) -> Row:
        return self._row(at)

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, range(len(self.keys)))

    def find(self, key: str) -> Row | None:
        """Returns the row of a key; None where there is none."""
        return self._row(self.keys.index(key)) if key in self.keys else None


class _Line(NamedTuple):
    """What a row is made of."""

    rank: _Rank
    """What lines are ordered by; it ends with the key, and is another one in each."""
    key: str
    sums: Sums
    before: Sums | None


class _Summed:
    """The sums of the cgroups of one Snapshot after the other."""

    def __init__(self) -> None:
        self.cgroups: tuple[Cgroup, ...] = ()
        self.sums: dict[str, Sums] = {}

    def move(self, cgroups: tuple[Cgroup, ...], known: "_Summed") -> set[str]:
        """Goes to the cgroups of another Snapshot.

        Args:
            cgroups: They.
            known: Where some of them may have been summed up already.

        Returns:
            The keys of those that are not the same objects as before.
        """
        left, come = changes(self.cgroups, cgroups)
        self.cgroups = cgroups
        for cgroup in left:
            self.sums.pop(key_of(cgroup), None)
        for cgroup in come:
            key = key_of(cgroup)
            one = known.sums.get(key)
            is_same = one is not None and one.parts[0] is cgroup
            self.sums[key] = one if one is not None and is_same else sums_of_cgroup(cgroup)
        return {*map(key_of, left), *map(key_of, come)}


class Tables:
    """Remembers of the last table what can be in the next one, too."""

    def __init__(self) -> None:
        self._now, self._since = _Summed(), _Summed()
        self._apart: set[str] = set()
        """Keys of what is not the same in both."""
        self._lines: list[_Line] = []
        """Those of the last table that was no tree, most first."""
        self._line_of: dict[str, _Line] = {}
        """The same by key."""
        self._wanted: object = None
        """What lines followed from, beside cgroups."""

    def table(
        self, snapshot: Snapshot, previous: Snapshot | None, view: View, baseline: Snapshot | None = None
    ) -> Table:
        """Makes the table of a Snapshot.

        Args:
            snapshot: The Snapshot.
            previous: Rates and growth are since this; None: since the start.
            view: How the table is wanted.
            baseline: With it, all that is counted is since this.
        """
        since = previous if baseline is None else baseline
        span = span_of(snapshot, since, from_baseline=baseline is not None)
        if view.by is not GroupBy.CGROUP:
            before = {} if since is None else sums(since, view.by)
            lines = _lines(sums(snapshot, view.by), before, span, view)
            return _table(sorted(lines, key=_rank, reverse=view.reverse), span)
        changed = self._move(snapshot.cgroups, () if since is None else since.cgroups)
        if view.tree:
            self._wanted = None
            return self._tree(snapshot, span, view)
        steady = dataclasses.replace(span, seconds=float(span.seconds > 0), watched_seconds=_LATE)
        wanted = (steady, view.sort, view.filter, view.dead_only)
        if wanted != self._wanted:
            self._wanted, self._lines, self._line_of, changed = wanted, [], {}, set(self._now.sums)
        out = [self._line_of.pop(key) for key in changed if key in self._line_of]
        there = {key: self._now.sums[key] for key in changed if key in self._now.sums}
        into = _lines(there, self._since.sums, steady, view)
        self._line_of |= {line.key: line for line in into}
        self._lines = exchanged(self._lines, out, into, _rank)
        return _table(self._lines[::-1] if view.reverse else self._lines, span)

    def _move(self, cgroups: tuple[Cgroup, ...], since: tuple[Cgroup, ...]) -> set[str]:
        """Goes to other Snapshots, and returns the keys of which one has something else than before."""
        if since is self._now.cgroups and since is not self._since.cgroups:
            # As with each new Snapshot: what the last one had, the one before has now.
            self._now, self._since = self._since, self._now
            changed = set(self._apart)
        else:
            changed = self._since.move(since, self._now)
        changed |= self._now.move(cgroups, self._since)
        now, before = self._now.sums, self._since.sums
        self._apart = {key for key in self._apart | changed if now.get(key) is not before.get(key)}
        return changed

    def _tree(self, snapshot: Snapshot, span: Span, view: View) -> Table:
        current = {key: self._now.sums[key] for key in map(key_of, snapshot.cgroups)}
        wanted = {key: _is_wanted(one, view) for key, one in current.items()}
        rows = tree(current, self._since.sums, wanted, span, view, _ordering(view.sort))
        return Table([row.key for row in rows], rows.__getitem__)


def _table(lines: Sequence[_Line], span: Span) -> Table:
    def row(at: int) -> Row:
        line = lines[at]
        return Row(line.key, line.sums, line.before, span, line.sums)

    return Table([line.key for line in lines], row)


def _lines(current: Mapping[str, Sums], before: Mapping[str, Sums], span: Span, view: View) -> list[_Line]:
    """Returns the lines of what the view wants, in no order."""
    ordering = _ordering(view.sort)
    found = []
    for key, one in current.items():
        if _is_wanted(one, view):
            rank = ordering(Row(key, one, before.get(key), span, one))
            found.append(_Line((*rank, key), key, one, before.get(key)))
    return found


def span_of(snapshot: Snapshot, since: Snapshot | None, *, from_baseline: bool = False) -> Span:
    return Span(
        seconds=snapshot.seconds_since(since),
        watched_seconds=snapshot.watched_seconds,
        page_size=snapshot.page_size,
        latency=latency_shown(snapshot),
        judged=any(Unseen(one) not in snapshot.unseen for one in MismatchClass),
        from_baseline=from_baseline,
    )


def _is_wanted(one: Sums, view: View) -> bool:
    if view.dead_only and one.state is not CgroupState.DEAD:
        return False
    text = view.filter.casefold()
    if not text:
        return True
    names = (one.name, one.label or "", one.host or "")
    return (
        any(text in name.casefold() for name in names)
        or any(text in site.symbol.casefold() for _, site in one.all_sites())
        or any(text in part.site.casefold() for _, part in one.shares if isinstance(part, ObjectSite))
    )


def _ordering(sort: SortKey) -> Callable[[Row], _Rank]:
    """Returns the order of rows: most first, names A to Z.

    Equal rows are ordered by held pages, kernel memory, activity and name, so that they keep their places
    from frame to frame.
    """
    value = value_of(sort)

    def order(row: Row) -> _Rank:
        found = value(row)
        if isinstance(found, str):
            return found, row.host or ""
        first = math.inf if found is None else -found
        return first, -row.sums.held, -(row.sums.kernel or row.sums.slab or 0), -row.sums.charged, row.name

    return order
