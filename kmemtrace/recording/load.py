"""Reads a recording as pandas' DataFrames."""

import os
from dataclasses import dataclass
from functools import reduce
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from kmemtrace.model.histogram import BUCKETS, upper_bound_seconds
from kmemtrace.recording.folder import named
from kmemtrace.recording.reader import File, MergedError, anew, file_of, headers
from kmemtrace.recording.schema import BY_NAME, TABLES, Table

DTYPES: dict[Any, Any] = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype("pyarrow"),
    pa.bool_(): pd.BooleanDtype(),
}
"""Types of columns by their Arrow types: all that know of null. A list is an array, a map a dict."""
DERIVED = {
    "cgroups": ("held_pages", "held_bytes", "account_unexplained_bytes"),
    "sites": ("held_pages", "held_bytes", "path"),
    "caches": ("path",),
    "objects": ("held_objects", "held_bytes", "path"),
    "latencies": ("count", "p50_seconds", "p99_seconds", "path"),
}
"""Columns that follow from the others, and are not in the files."""
_CGROUP = ["run", "host", "hierarchy", "id"]
_BOUNDS = np.array([upper_bound_seconds(i) for i in range(BUCKETS)])


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording as DataFrames. Their columns, units and dtypes: docs/analysis.md.

    A row tells of its key from its moment on. So that a file can be read alone, each begins with all rows
    that hold then.
    """

    meta: dict[str, Any]
    """meta.json of the newest minute: kernel, tier, version, clock, the plan."""
    minutes: pd.DataFrame
    """A row for each minute: its folder, its run, and its first and last moment."""
    snapshots: pd.DataFrame
    cgroups: pd.DataFrame
    sites: pd.DataFrame
    caches: pd.DataFrame
    objects: pd.DataFrame
    latencies: pd.DataFrame
    findings: pd.DataFrame
    losses: pd.DataFrame
    maps: pd.DataFrame
    stacks: pd.DataFrame

    def state(self, table: str, time: "pd.Timestamp | str | None" = None) -> pd.DataFrame:
        """Returns the rows of a table that held at a time, one for each key.

        Args:
            table: Name of a table that has keys, such as "cgroups".
            time: When; None for the end. The last moment until then counts.

        Raises:
            KeyError: There is no such table, or it has no keys in time.
            ValueError: Nothing was recorded by then.
        """
        if not BY_NAME[table].has_absence:
            raise KeyError(f"{table} has no rows that hold from one moment to the next")
        moments = self.snapshots
        if time is not None:
            when = pd.Timestamp(time)
            moments = moments[moments["time"] <= (when if when.tzinfo else when.tz_localize("UTC"))]
        if moments.empty:
            raise ValueError(f"nothing was recorded by {time}")
        run, moment = (int(moments[name].iloc[-1]) for name in ("run", "moment"))
        # All that holds is told at the begin of the minute, so that nothing before it matters.
        minute = self.minutes[(self.minutes["run"] == run) & (self.minutes["first_moment"] <= moment)]
        first = int(minute["first_moment"].iloc[-1])
        rows: pd.DataFrame = getattr(self, table)
        rows = rows[(rows["run"] == run) & rows["moment"].between(first, moment)]
        keys = [column.name for column in BY_NAME[table].keys]
        rows = rows.drop_duplicates(keys, keep="last")
        return rows[rows["present"]].reset_index(drop=True)


def load(folder: str | os.PathLike[str]) -> Recording:
    """Reads a recording that `kmemtrace record` wrote, or is writing; "sample" is one that is shipped.

    Raises:
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    return anew(lambda: _loaded(named(Path(folder))))


def _loaded(folder: Path) -> Recording:
    read = headers(folder)
    if not read:  # all was removed while it was read
        return _loaded(folder)
    # One after the other, and none kept in two forms: a day may need gigabytes.
    frames = {table.name: _frame(_whole(read, table)) for table in TABLES}
    frames["stacks"] = frames["stacks"].drop_duplicates("stack", ignore_index=True)
    _derive(frames)
    return Recording(
        meta=read[-1].meta, minutes=_minutes([(file.path, file.meta) for file in read]), **frames
    )


def _whole(read: list[File], table: Table) -> Any:
    """Returns a table of all minutes.

    Raises:
        MergedError: A minute was removed meanwhile, too: what is there must fit together.
    """
    found = [file_of(one.minute, (table,)) for one in read]
    if None in found:
        raise MergedError
    return pa.concat_tables([one.tables[table.name] for one in found if one is not None])


def _frame(table: Any) -> pd.DataFrame:
    found = table.to_pandas(types_mapper=DTYPES.get, maps_as_pydicts="strict", date_as_object=False)
    return cast("pd.DataFrame", found)


def _minutes(found: list[tuple[Path, dict[str, Any]]]) -> pd.DataFrame:
    rows = [
        {
            "minute": path.name,
            "run": meta["run"],
            "first_moment": meta["moments"][0],
            "last_moment": meta["moments"][1],
            "begin": pd.Timestamp(meta["clock"]["begin"], unit="s", tz="UTC"),
            "end": pd.Timestamp(meta["clock"]["end"], unit="s", tz="UTC"),
            "version": meta["version"],
            "bytes": sum(map(itemgetter("bytes"), meta["files"].values())),
        }
        for path, meta in found
    ]
    return pd.DataFrame(rows)


def _derive(frames: dict[str, pd.DataFrame]) -> None:
    """Adds the columns of DERIVED."""
    cgroups, sites, objects = frames["cgroups"], frames["sites"], frames["objects"]
    sizes = frames["snapshots"]["page_size"]
    page = int(sizes.iloc[0]) if len(sizes) else 0
    for frame in (cgroups, sites):
        held = frame["preexisting_pages"] + frame["charged_pages"] - frame["uncharged_pages"]
        frame["held_pages"] = held - frame["lost_pages"].fillna(0)
        frame["held_bytes"] = frame["held_pages"] * page
    parts = [
        cgroups[f"account_{part}_bytes"].fillna(0) for part in ("pages", "slab", "ahead", "percpu", "zswap")
    ]
    cgroups["account_unexplained_bytes"] = cgroups["account_kernel_bytes"] - reduce(lambda a, b: a + b, parts)
    objects["held_objects"] = objects["charged_objects"] - objects["freed_objects"]
    objects["held_bytes"] = objects["held_objects"] * objects["object_bytes"]
    latencies = frames["latencies"]
    counts = _counts(latencies["counts"])
    latencies["count"] = pd.array(counts.sum(axis=1), dtype="UInt64")
    for name, quantile in (("p50_seconds", 0.5), ("p99_seconds", 0.99)):
        latencies[name] = pd.array(_quantiles(counts, quantile), dtype="Float64")
    paths = cgroups.dropna(subset=["path"]).drop_duplicates(_CGROUP, keep="last")[[*_CGROUP, "path"]]
    for name in ("sites", "caches", "objects", "latencies"):
        frames[name] = frames[name].merge(paths, on=_CGROUP, how="left")


def _counts(column: "pd.Series[Any]") -> Any:
    rows = [np.zeros(BUCKETS, np.uint64) if one is None else one for one in column]
    return np.array(rows, np.uint64).reshape(len(rows), BUCKETS)


def _quantiles(counts: Any, quantile: float) -> list[float | None]:
    """Returns the upper bound of each histogram's bucket that the quantile is in; None of an empty one."""
    reached = counts.cumsum(axis=1)
    total = reached[:, -1]
    ranks = np.maximum(1, np.ceil(total * quantile)).astype(np.uint64)
    places = (reached >= ranks[:, None]).argmax(axis=1)
    return [float(_BOUNDS[place]) if n else None for place, n in zip(places, total, strict=True)]
