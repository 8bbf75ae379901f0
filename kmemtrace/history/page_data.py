"""Makes the numbers that the page draws: of the largest of each kind by itself, and of the rest in sums."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kmemtrace.history.counts import Counts
from kmemtrace.history.history import History, cgroup_key
from kmemtrace.history.latencies import latencies
from kmemtrace.model.histogram import FIRST_LE_NS
from kmemtrace.printable import printable
from kmemtrace.text import function

Json = dict[str, Any]
_MOST_CGROUPS = 40
_MOST_SITES = 1200
_MOST_CACHES = 300
OTHER = "(other)"


def page_data(history: History, told: Callable[[str], None] = lambda _: None) -> Json:
    """Returns what the page draws.

    Numbers of a row are, of what stands, by how much it is more than at the point before; of what is counted,
    what was counted since that.
    """
    over = history.timeline
    groups = _groups(history)
    group_of = {name: groups.get(name, 0) for name in history.names}
    texts = _Texts()
    return {
        "page_size": over.page_size,
        "first_bucket_ns": FIRST_LE_NS,
        "times": [round(one.time, 3) for one in over.bins],
        "seconds": [round(one.seconds, 3) for one in over.bins],
        "runs": [one.run for one in over.bins],
        "cgroups": _cgroups(history, groups, group_of),
        "sites": _sites(history, group_of, texts),
        "caches": _caches(history, group_of, texts),
        "latencies": [
            {"measured": measured, "group": group, "cells": _cells(counts)}
            for measured, of in sorted(latencies(history, group_of, told).items())
            for group, counts in sorted(of.items())
        ],
        "texts": texts.texts,
    }


class _Texts:
    """Numbers texts, so that each is in the page once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def number(self, text: str) -> int:
        return self._numbers.setdefault(printable(text), len(self._numbers))


def _groups(history: History) -> dict[str, int]:
    """Returns the numbers of the cgroups that are shown by themselves; 0 is the others'.

    Half of them are those that hold most, half those that are charged most.
    """
    highest: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    rows = zip(history.names, history.cgroups.peak.tolist(), _charged(history.cgroups), strict=True)
    for name, peak, charged in rows:
        row = highest[name]
        row[:] = max(row[0], peak), row[1] + charged
    names = [name for name, row in highest.items() if any(row)]
    by_held = sorted(names, key=lambda name: (-highest[name][0], name))
    by_charged = sorted(names, key=lambda name: (-highest[name][1], name))
    chosen: dict[str, int] = {}
    for pair in zip(by_held, by_charged, strict=True):
        for name in pair:
            if len(chosen) < _MOST_CGROUPS:
                chosen.setdefault(name, len(chosen) + 1)
    return chosen


def _charged(counts: Counts) -> list[int]:
    found: list[int] = counts.total("charged").tolist()
    return found


def _changes(rows: Any) -> list[list[int]]:
    found: list[list[int]] = np.diff(rows, axis=1, prepend=0).tolist()
    return found


def _cgroups(history: History, groups: dict[str, int], group_of: dict[str, int]) -> list[Json]:
    counts, bins, count = history.cgroups, len(history.timeline.bins), len(groups) + 1
    of = np.array([group_of[name] for name in history.names], np.int64)
    held, charged, uncharged = (
        counts.grouped(name, of, count, bins) for name in ("held", "charged", "uncharged")
    )
    others = len(set(history.names)) - len(groups)
    names = [f"{OTHER}: {others:,} more cgroups", *map(printable, groups)]  # the page tells these by place
    labels = {
        name: printable(last.label)
        for key, name in history.name_of().items()
        if (last := history.last.get(key)) is not None and last.label
    }
    of_groups = [None, *(labels.get(name) for name in groups)]
    rows = zip(names, of_groups, _changes(held), charged.tolist(), uncharged.tolist(), strict=True)
    return [dict(zip(("name", "label", "held", "charged", "uncharged"), row, strict=True)) for row in rows]


def _chosen(keys: Sequence[Any], scores: Any, most: int, rest: Callable[[Any], Any]) -> tuple[list[Any], Any]:
    """Chooses of rows that may have the same key those keys that score most.

    Args:
        keys: The key of each row; None for one that is left out.
        scores: The score of each.
        most: How many keys are chosen.
        rest: Returns the key that stands for one that is not.

    Returns:
        The keys, and of each row the number of its one, which is -1 where it is left out.
    """
    sums: dict[Any, int] = defaultdict(int)
    for key, score in zip(keys, scores.tolist(), strict=True):
        if key is not None and score:
            sums[key] += score
    chosen = set(sorted(sums, key=lambda key: -sums[key])[:most])
    numbers: dict[Any, int] = {}
    of = np.full(len(keys), -1, np.int64)
    for row, key in enumerate(keys):
        if key in sums:
            kept = key if key in chosen else rest(key)
            of[row] = numbers.setdefault(kept, len(numbers))
    return list(numbers), of


def _sites(history: History, group_of: dict[str, int], texts: _Texts) -> Json:
    counts, bins, names = history.sites, len(history.timeline.bins), history.name_of()
    keys = [
        (group_of.get(names.get(cgroup_key(one), ""), 0), one["kind"], one["symbol"], one["stack"])
        for one in counts.details
    ]
    scores = counts.peak + counts.total("charged")
    found, of = _chosen(keys, scores, _MOST_SITES, lambda key: (key[0], key[1], OTHER, None))
    held = _changes(counts.grouped("held", of, len(found), bins))
    charged = counts.grouped("charged", of, len(found), bins).tolist()
    rows = [
        {
            "group": group,
            "kind": texts.number(kind),
            "symbol": texts.number(symbol),
            "frames": [texts.number(function(frame)) for frame in _frames(history, symbol, stack)],
            "held": held[place],
            "charged": charged[place],
        }
        for place, (group, kind, symbol, stack) in enumerate(found)
    ]
    whole = len({key for key, score in zip(keys, scores.tolist(), strict=True) if score})
    return {"rows": rows, "shown": min(whole, _MOST_SITES), "whole": whole}


def _frames(history: History, symbol: str, stack: int | None) -> list[str]:
    """Returns the frames of a stack, outermost first."""
    frames = () if stack is None else history.stacks.get(stack, ())
    return list(reversed(frames)) or [symbol]


def _caches(history: History, group_of: dict[str, int], texts: _Texts) -> Json:
    """Tells of slab caches by group of cgroups; of the whole machine by group -1."""
    counts, bins, names = history.caches, len(history.timeline.bins), history.name_of()
    keys = [
        (-1 if one["id"] is None else group_of.get(names.get(cgroup_key(one), ""), 0), one["cache"])
        for one in counts.details
    ]
    found, of = _chosen(keys, counts.peak, _MOST_CACHES, lambda key: (key[0], OTHER))
    sizes = _changes(counts.grouped("bytes", of, len(found), bins))
    rows = [
        {"group": group, "cache": texts.number(cache), "held": sizes[place]}
        for place, (group, cache) in enumerate(found)
    ]
    whole = len({key for key, peak in zip(keys, counts.peak.tolist(), strict=True) if peak})
    return {"rows": rows, "shown": min(whole, _MOST_CACHES), "whole": whole}


def _cells(counts: Any) -> list[int]:
    """Returns what is not 0 as bin, bucket, count, and so on."""
    bins, buckets = np.nonzero(counts)
    found: list[int] = np.stack([bins, buckets, counts[bins, buckets]], axis=1).ravel().tolist()
    return found
