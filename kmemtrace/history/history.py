"""Reads what a report tells of a recording: each table once, and of it no more than that needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmemtrace.history.counts import Counts, What
from kmemtrace.history.endings import Ending, Last, endings, last_rows
from kmemtrace.history.timeline import Stretch, Timeline, timeline
from kmemtrace.recording.reader import anew, columns

CGROUP = ("host", "hierarchy", "id")
_PAGES = ("charged_pages", "uncharged_pages", "lost_pages", "preexisting_pages")


def _number(table: Any, name: str) -> Any:
    return pc.fill_null(table[name], 0).to_numpy()


def held(table: Any) -> Any:
    """Returns the pages held by each row of an Arrow table, as model/snapshot.py has it."""
    charged, uncharged, lost, before = (_number(table, name) for name in _PAGES)
    return before + charged - uncharged - lost


def _of_cgroups(table: Any) -> list[Any]:
    pages = held(table)
    dead = pc.fill_null(pc.equal(table["state"], "dead"), False).to_numpy()
    counted = (_number(table, name) for name in ("charged_pages", "uncharged_pages", "failed_charges"))
    return [pages, np.where(dead, pages, 0), _number(table, "account_kernel_bytes"), *counted]


def _of_sites(table: Any) -> list[Any]:
    return [held(table), _number(table, "charged_pages"), _number(table, "uncharged_pages")]


CGROUPS = What(
    "cgroups",
    CGROUP,
    (*_PAGES, "state", "failed_charges", "account_kernel_bytes"),
    _of_cgroups,
    standing=("held", "dead", "kernel_bytes"),
    counted=("charged", "uncharged", "failed"),
    details=("path",),
)
SITES = What(
    "sites",
    (*CGROUP, "kind", "symbol", "stack"),
    _PAGES,
    _of_sites,
    standing=("held",),
    counted=("charged", "uncharged"),
)
CACHES = What(
    "caches",
    (*CGROUP, "cache", "reclaimable"),
    ("bytes", "objects"),
    lambda table: [_number(table, "bytes"), _number(table, "objects")],
    standing=("bytes", "objects"),
)


@dataclass(frozen=True, slots=True)
class History:
    """What was read of a recording."""

    meta: dict[str, Any]
    """meta.json of the newest minute of it."""
    timeline: Timeline
    endings: tuple[Ending, ...]
    """How each run ended, or stood at the end of the range."""
    last: dict[tuple[Any, ...], Last]
    """Cgroups that were there at the end, by host, hierarchy and id."""
    cgroups: Counts
    names: list[str]
    """Of each of these, its path, with the host before it where there are several."""
    sites: Counts
    stacks: dict[int, tuple[str, ...]]
    caches: Counts

    def name_of(self) -> dict[tuple[Any, ...], str]:
        """Returns the names of cgroups by host, hierarchy and id."""
        keys = (tuple(one[name] for name in CGROUP) for one in self.cgroups.details)
        return dict(zip(keys, self.names, strict=True))


def cgroup_key(detail: dict[str, Any]) -> tuple[Any, ...]:
    """Returns host, hierarchy and id of the cgroup that something is of."""
    return tuple(detail[name] for name in CGROUP)


def read(
    folder: Path,
    bins: int,
    since: str | None = None,
    until: str | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> History:
    """Reads a recording.

    Args:
        folder: Where it is.
        bins: How many points of time there are to be at most.
        since: When to begin; None for its begin.
        until: When to end; None for its end.
        told: Is told what is being read.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, or nothing was recorded then.
    """
    return anew(lambda: _read(folder, bins, since, until, told))


def _read(
    folder: Path, bins: int, since: str | None, until: str | None, told: Callable[[str], None]
) -> History:
    told("reading when it was")
    over = timeline(folder, bins, since, until)
    counts = {}
    stacks: dict[int, tuple[str, ...]] = {}
    named = 0
    for what in (CGROUPS, SITES, CACHES):
        one = counts[what.table] = Counts(what)
        for number, stretch in enumerate(one.follow(over.stretches)):
            told(f"reading {what.table}, {number + 1:,} of {len(over.stretches):,} minutes")
            if what is SITES:
                named = _add_stacks(stacks, one, stretch, named)
    told("reading how it ended")
    last = last_rows(over)
    return History(
        over.stretches[-1].file.meta,
        over,
        tuple(endings(over)),
        last,
        counts["cgroups"],
        _names(counts["cgroups"], last),
        counts["sites"],
        stacks,
        counts["caches"],
    )


def _names(cgroups: Counts, last: dict[tuple[Any, ...], Last]) -> list[str]:
    """Returns the name of each cgroup: the last that it had."""
    keyed = ((cgroup_key(one), one) for one in cgroups.details)
    return [_name(last[key].path if key in last else one["path"], one["host"]) for key, one in keyed]


def _name(path: str | None, host: str | None) -> str:
    return f"{host}:{path}" if host else path or "(unknown)"


def _add_stacks(stacks: dict[int, tuple[str, ...]], sites: Counts, stretch: Stretch, named: int) -> int:
    """Adds the frames of the stacks that came with a minute; a stack has the same number in all of them.

    Args:
        stacks: Gets them.
        sites: The call sites that name them.
        stretch: The minute.
        named: How many call sites there were before.

    Returns:
        How many there are now.
    """
    wanted = {one["stack"] for one in sites.details[named:]} - stacks.keys() - {None}
    found = columns(stretch.file, {"stacks": ("stack", "frames")}) if wanted else None
    if found is not None:
        table = found["stacks"]
        rows = table.filter(pc.is_in(table["stack"], pa.array(wanted, pa.uint64()))).to_pylist()
        stacks.update((row["stack"], tuple(row["frames"])) for row in rows)
    return len(sites.details)
