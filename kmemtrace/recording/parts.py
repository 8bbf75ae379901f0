"""Takes a recording apart into stretches of time, each with what was counted in it: what `diff` compares."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from kmemtrace.errors import UsageError
from kmemtrace.model.comparison import LEAST_PARTS, Part, Side
from kmemtrace.recording.counts import Counts, between
from kmemtrace.recording.folder import META, Minute, unsealed
from kmemtrace.recording.reader import anew, file_of, fitting, listed
from kmemtrace.recording.schema import BY_NAME

MOST_PARTS = 20
_IN_TIME = ("snapshots", "cgroups", "sites", "caches", "latencies", "losses")
_TABLES = [BY_NAME[name] for name in (*_IN_TIME, "stacks")]
_Told = tuple[Minute, dict[str, Any]]
"""A minute and its meta.json."""


def side_of(folder: Path, name: str, *, by_stack: bool = False) -> Side:
    """Reads a recording.

    Args:
        folder: The recording.
        name: What its user calls it.
        by_stack: Whether call sites are told apart by whole stacks, not by their first function.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, it is of a later version, or it is of a
            single moment.
    """
    return anew(lambda: _side(folder, name, by_stack=by_stack))


def _side(folder: Path, name: str, *, by_stack: bool) -> Side:
    runs = _runs(folder)
    moments = [last - first for first, last in (_ends(run) for run in runs)]
    if not any(moments):
        raise UsageError(f"{name} is of a single moment: there is nothing in it that could have changed.")
    alone = sum(1 for one in moments if one) >= LEAST_PARTS
    wanted = [1 if alone else max(1, round(MOST_PARTS * of / sum(moments))) for of in moments]
    counts = [Counts(by_stack=by_stack) for _ in runs]
    parts = [part for one in zip(runs, wanted, counts, strict=True) for part in _parts(*one)]
    told = [one.moment for one in counts if one.moment]
    losses = [one.losses for one in counts if one.moment]
    return Side(
        folder=name,
        host=told[0]["host"],
        kernel=", ".join(dict.fromkeys(one["kernel"] for one in told)),
        tier=", ".join(dict.fromkeys(one["tier"] for one in told)),
        begin=runs[0][0][1]["clock"]["begin"],
        missed_events=sum(one.missed_events for one in losses),
        doubtful_bytes=max(one.doubtful_pages for one in losses) * told[0]["page_size"],
        unseen=dict(told[-1]["unseen"]),
        parts=parts,
    )


def _runs(folder: Path) -> list[list[_Told]]:
    """Returns the minutes of each run, with their meta.json."""
    found = []
    for minute in listed(folder):
        try:
            found.append((minute, unsealed(minute.path / META)))
        except (FileNotFoundError, NotADirectoryError):
            if file_of(minute, ()) is not None:  # which tells what is wrong, unless it was removed meanwhile
                raise
    runs = [list(of) for _, of in groupby(found, key=lambda one: one[1]["run"])]
    if not runs:
        return _runs(folder)
    return runs


def _ends(run: list[_Told]) -> tuple[int, int]:
    return run[0][1]["moments"][0], run[-1][1]["moments"][1]


def _parts(run: list[_Told], count: int, counts: Counts) -> Iterator[Part]:
    """Yields the parts of a run in their order, each of as many moments as the others."""
    first, last = _ends(run)
    bounds = iter(sorted({first + round(i * (last - first) / count) for i in range(1, count + 1)}))
    # What is there at the first moment was counted before.
    part, bound, is_counted = Part(), -1, False
    for minute, _ in run:
        file = file_of(minute, _TABLES)
        if file is None:
            continue
        with fitting(file):
            counts.enter_stacks(file.tables["stacks"])
            begin, end = file.meta["moments"]
            there = file.tables["snapshots"]["moment"].to_numpy()
            while begin <= end:
                if bound < begin:  # or else it would be in a minute that is missing
                    bound = next((one for one in bounds if one >= begin), last) if is_counted else begin
                if bound <= end:  # of minutes that were merged not all moments are there
                    bound = int(there[np.searchsorted(there, bound)])
                to = min(bound, end)
                counts.enter({name: between(file.tables[name], begin, to) for name in _IN_TIME}, part)
                begin = to + 1
                if to == bound:
                    counts.close(part)
                    if is_counted:
                        yield part
                    part, is_counted = Part(), True
