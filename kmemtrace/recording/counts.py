"""Follows the counts of a run through its rows, and tells what was counted between two moments."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmemtrace import text
from kmemtrace.model.comparison import Part, RowKey, RowKind
from kmemtrace.model.losses import Losses
from kmemtrace.recording.rebuilt import losses_of

_ALL = RowKey(RowKind.ALL, "")
_CGROUP = ("host", "hierarchy", "id")
_SITE = (*_CGROUP, "kind", "symbol", "stack")
_TIMED = (*_CGROUP, "measured", "accounted", "order")
_PAGES = ("charged_pages", "uncharged_pages", "lost_pages", "preexisting_pages")
_OFFSET = re.compile(r"\+0x[0-9a-f]+.*")
_BUILD = re.compile(r"(_noprof|\.(isra|constprop|part|cold|llvm)(\.\d+)*)+$")
"""What a compiler, and 6.10 with its profile of allocations, add to a function's name."""
_UNNAMED = "(no name)"
_Key = tuple[Any, ...]


def function_name(frame: str) -> str:
    """Returns a function's name as it is on every kernel that has the function."""
    return _BUILD.sub("", _OFFSET.sub("", frame))


def between(table: Any, first: int, last: int) -> Any:
    """Returns the rows from one moment to another, both included."""
    moments = table["moment"].to_numpy()
    begin, end = np.searchsorted(moments, first), np.searchsorted(moments, last, "right")
    return table.slice(begin, end - begin)


class Counts:
    """Holds what the rows of a run have said so far."""

    def __init__(self, *, by_stack: bool) -> None:
        """Begins before the first moment.

        Args:
            by_stack: Whether call sites are told apart by whole stacks, not by their first function.
        """
        self._by_stack = by_stack
        self._stacks: dict[int, str] = {}
        self._cgroups, self._sites, self._timed = _Counters(), _Counters(), _Counters()
        self._caches: dict[_Key, int] = {}
        self._cached_since: float | None = None
        """`watched_seconds` from which on each Snapshot has a census; None: the last has none."""
        self._paths: dict[_Key, str] = {}
        self._losses: dict[_Key, tuple[int]] = {}
        self._then, self._ended = (0, 0, 0), 0.0
        """What _now() told at the end of the part before, and after how many seconds that was."""
        self.moment: dict[str, Any] = {}
        """What is told once of all at the last moment that was entered, as the table `snapshots` has it."""

    def enter(self, tables: Mapping[str, Any], part: Part) -> None:
        """Enters rows, and adds to a part what they have more than those before."""
        moments = tables["snapshots"]
        if not moments.num_rows:
            return
        (self.moment,) = moments.slice(moments.num_rows - 1).to_pylist()
        self._enter_cgroups(tables["cgroups"], part)
        self._enter_sites(tables["sites"], part)
        self._enter_charges(tables["latencies"], part)
        self._enter_caches(tables["caches"], moments, part)
        self._losses |= {
            key: (row["count"],)
            for key, row in _newest(tables["losses"], ("loss", "part"))
            if row is not None
        }

    def enter_stacks(self, table: Any) -> None:
        """Enters the frames of stacks."""
        for row in table.to_pylist() if self._by_stack else ():
            self._stacks[row["stack"]] = " < ".join(map(function_name, row["frames"]))

    def close(self, part: Part) -> None:
        """Ends a part here: tells what is held, and what was counted of all together."""
        size = self._page_size
        for cgroup, (_, kept, before) in self._cgroups.held():
            if kept + before:
                part.of(self._cgroup(cgroup)).held += size * (kept + before)
        for site, (_, kept, before) in self._sites.held():
            if kept + before:
                part.of(self._site(site)).held += size * (kept + before)
        for (name, _), held in self._caches.items():
            if held:
                part.of(RowKey(RowKind.CACHE, name)).held += held
        now = self._now()
        charged, kept, doubtful = (after - before for after, before in zip(now, self._then, strict=True))
        whole = part.of(_ALL)
        whole.charged, whole.growth, whole.held = size * charged, size * kept, size * self._held_pages()
        until = self.moment["watched_seconds"]
        part.seconds, part.doubtful_bytes = until - self._ended, size * doubtful
        if self._cached_since is not None:
            part.cached_seconds = until - max(self._ended, self._cached_since)
        self._then, self._ended = now, until

    @property
    def losses(self) -> Losses:
        """What was missed until now."""
        return losses_of({"losses": self._losses})

    @property
    def _page_size(self) -> int:
        return int(self.moment["page_size"])

    def _now(self) -> tuple[int, int, int]:
        """Returns the pages charged to all until now, those that were kept, and those that are doubtful."""
        told = self.moment
        present = [counts for _, counts in self._cgroups.held()]
        charged = told["gone_charged_pages"] + sum(one[0] for one in present)
        kept = _kept({name: told[f"gone_{name}"] for name in _PAGES}) + sum(one[1] for one in present)
        return charged, kept, self.losses.doubtful_pages

    def _held_pages(self) -> int:
        gone = {name: self.moment[f"gone_{name}"] for name in _PAGES}
        rows = sum(kept + before for _, (_, kept, before) in self._cgroups.held())
        return rows + _kept(gone) + int(gone["preexisting_pages"])

    def _cgroup(self, key: _Key) -> RowKey:
        return RowKey(RowKind.CGROUP, self._paths[key])

    def _site(self, key: _Key) -> RowKey:
        *_, kind, symbol, stack = key
        function = self._stacks.get(stack) or function_name(symbol)
        return RowKey(RowKind.SITE, f"{function} {text.kind_told(kind, function)}".rstrip())

    def _enter_cgroups(self, table: Any, part: Part) -> None:
        for key, row in _newest(table, _CGROUP):
            if row is None:
                self._cgroups.end(key)
                continue
            # One whose name could not be learnt is told by its id, which is another one each time.
            self._paths[key] = _UNNAMED if row["path"].startswith("(id ") else row["path"]
            self._add(part, self._cgroup(key), self._cgroups.add(key, _counts(row)))

    def _enter_sites(self, table: Any, part: Part) -> None:
        for key, row in _newest(table, _SITE):
            if row is None:
                self._sites.end(key)
            else:
                self._add(part, self._site(key), self._sites.add(key, _counts(row)))

    def _add(self, part: Part, key: RowKey, counts: tuple[int, ...]) -> None:
        charged, kept, _ = counts
        if not charged and not kept:  # it was told again, as all is at the begin of a minute
            return
        to = part.of(key)
        to.charged += self._page_size * charged
        to.growth += self._page_size * kept

    def _enter_charges(self, table: Any, part: Part) -> None:
        for key, row in _newest(table, _TIMED):
            if row is None or key[3] != "charge" or key[:3] not in self._paths:
                continue
            charges, ns = self._timed.add(key, (sum(row["counts"]), row["sum_ns"]))
            for of in (_ALL, self._cgroup(key[:3])) if charges else ():
                part.of(of).charges += charges
                part.of(of).charge_ns += ns

    def _enter_caches(self, table: Any, moments: Any, part: Part) -> None:
        """Enters the caches of the whole machine; what the first census found was there before."""
        if (
            self.moment["census_age_seconds"] is None
        ):  # it says nothing of them, and not that there is nothing
            self._caches, self._cached_since = {}, None
            return
        if self._cached_since is None:
            with_census = moments.filter(pc.is_valid(moments["census_age_seconds"]))
            self._cached_since = with_census["watched_seconds"][0].as_py()
        of_machine = table.filter(pc.is_null(table["id"]))
        is_first = not self._caches
        for key, row in _newest(of_machine, ("cache", "reclaimable")):
            size = 0 if row is None else row["bytes"]
            if not is_first and size != self._caches.get(key, 0):
                part.of(RowKey(RowKind.CACHE, key[0])).growth += size - self._caches.get(key, 0)
            self._caches[key] = size


class _Counters:
    """Follows counts of keys. They only grow, but that an id may be given anew."""

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[int, ...]] = {}
        self._ended: set[_Key] = set()

    def add(self, key: _Key, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Enters a key's counts, and returns what they have more; of a new key that is all of them."""
        before = self._known.get(key)
        if before is None or counts[0] < before[0]:
            before = (0,) * len(counts)
        self._known[key] = counts
        self._ended.discard(key)
        return tuple(now - then for now, then in zip(counts, before, strict=True))

    def end(self, key: _Key) -> None:
        """Enters that a key has no row any more."""
        self._ended.add(key)

    def held(self) -> Iterator[tuple[_Key, tuple[int, ...]]]:
        """Yields the keys that have rows, with their counts."""
        return ((key, counts) for key, counts in self._known.items() if key not in self._ended)


def _counts(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Returns the pages charged, how many more they are than those that ended, and those from before."""
    return row["charged_pages"], _kept(row), row["preexisting_pages"]


def _kept(row: Mapping[str, Any]) -> int:
    return int(row["charged_pages"] - row["uncharged_pages"] - (row["lost_pages"] or 0))


def _newest(table: Any, keys: tuple[str, ...]) -> Iterator[tuple[_Key, dict[str, Any] | None]]:
    """Yields, for each key, its last row that says something, and then None if it has ended."""
    for rows in (_last(table.filter(table["present"]), keys), _ended(_last(table, keys))):
        for row in rows.to_pylist():
            yield tuple(row[name] for name in keys), row if row["present"] else None


def _last(table: Any, keys: tuple[str, ...]) -> Any:
    """Returns the last row of each key."""
    if not table.num_rows:
        return table
    numbered = pa.table({**{name: table[name] for name in keys}, "row": np.arange(table.num_rows)})
    found = numbered.group_by(list(keys), use_threads=False).aggregate([("row", "max")])
    return table.take(found["row_max"])


def _ended(table: Any) -> Any:
    return table.filter(pc.invert(table["present"]))
