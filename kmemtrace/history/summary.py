"""Sums up what a recording tells, as JSON has it; the text and the page are made of the same."""

from collections import defaultdict
from typing import Any

from kmemtrace.history.history import History, cgroup_key
from kmemtrace.model.document import losses_document, mismatch_document
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import SCHEMA_VERSION

Json = dict[str, Any]
_MOST_OF_DEAD = 3
"""How many call sites and slab caches are told of a removed cgroup."""


def document(history: History) -> Json:
    """Makes the JSON document."""
    over, meta = history.timeline, history.meta
    ending = history.endings[-1] if history.endings else None
    cgroups = _cgroups(history)
    return {
        "schema_version": SCHEMA_VERSION,
        "host": over.host,
        "kernel": ending.kernel if ending else meta["kernel"],
        "tier": ending.tier if ending else meta["tier"],
        "recorded_by": meta["version"],
        "begin": over.begin,
        "end": over.end,
        "watched_seconds": round(over.seconds, 3),
        "snapshots": over.moments,
        "interval_seconds": meta["interval_seconds"],
        **_merged(history),
        "page_size": over.page_size,
        "runs": [_run(history, number) for number in range(len(history.endings))],
        "minutes_left_out": over.minutes_left_out,
        "missed_events": sum(one.losses.missed_events for one in history.endings),
        "unseen": dict(ending.unseen) if ending else {},
        **{name: sum(one[name] for one in cgroups) for name in _SUMMED},
        "cgroups": cgroups,
        "sites": _sites(history),
        "caches": _caches(history),
        "dead": _dead(history),
        "pinned_bytes": ending.pinned if ending else {},
        **({} if ending is None or ending.dying_cgroups is None else {"dying_cgroups": ending.dying_cgroups}),
        "findings": [
            {"run": one.run, **mismatch_document(found)}
            for one in history.endings
            for found in one.mismatches
        ],
    }


def _merged(history: History) -> Json:
    """Tells until when minutes were merged, so that not all Snapshots are there any more."""
    metas = [one.file.meta for one in history.timeline.stretches]
    fewer = [
        one for one in metas if "merged" in one and one["merged"]["step_seconds"] > one["interval_seconds"]
    ]
    if not fewer:
        return {}
    step = max(one["merged"]["step_seconds"] for one in fewer)
    until = min(fewer[-1]["clock"]["end"], history.timeline.end)
    return {"merged": {"until": until, "step_seconds": step}}


_SUMMED = ("held_bytes", "held_change_bytes", "charged_bytes", "uncharged_bytes", "failed_charges")


def _run(history: History, number: int) -> Json:
    one = history.endings[number]
    return {
        "run": one.run,
        "end": one.time,
        "kernel": one.kernel,
        "tier": one.tier,
        "missed_events": one.losses.missed_events,
        "losses": losses_document(one.losses),
        "unjudged_seconds": one.unjudged_seconds,
    }


def _cgroups(history: History) -> list[Json]:
    """Tells of each name of a cgroup: one that was removed and made anew has one."""
    counts, bins = history.cgroups, len(history.timeline.bins)
    held, first = counts.last("held", bins), counts.first("held")
    pages = {
        "held_bytes": held,
        "held_change_bytes": held - first,
        "peak_bytes": counts.peak,
        "charged_bytes": counts.total("charged"),
        "uncharged_bytes": counts.total("uncharged"),
    }
    values = {name: (of * history.timeline.page_size).tolist() for name, of in pages.items()}
    values["failed_charges"] = counts.total("failed").tolist()
    found: dict[str, Json] = {}
    for number, (name, detail) in enumerate(zip(history.names, counts.details, strict=True)):
        last = history.last.get(cgroup_key(detail))
        row = found.setdefault(name, {"path": name, "label": None, "state": CgroupState.GONE.value})
        if last is not None and (row["state"] != CgroupState.ONLINE):
            row |= {"label": last.label, "state": last.state}
        for value, of in values.items():
            both = max if value == "peak_bytes" else _sum
            row[value] = both(row.get(value, 0), of[number])
        if last is not None and last.kernel_bytes is not None:
            row["kernel_bytes"] = row.get("kernel_bytes", 0) + last.kernel_bytes
    # One that was gone before the range has nothing to tell.
    rows = [one for one in found.values() if one["state"] != CgroupState.GONE or any(map(one.get, values))]
    return sorted(rows, key=lambda row: (-row["held_bytes"], -row["charged_bytes"], row["path"]))


def _sum(a: int, b: int) -> int:
    return a + b


def _sites(history: History) -> list[Json]:
    """Tells of each function, over all cgroups."""
    counts = history.sites
    held, charged, uncharged = site_bytes(history)
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for detail, *values in zip(counts.details, held, charged, uncharged, strict=True):
        row = found[detail["kind"], detail["symbol"]]
        row[:] = map(_sum, row, values)
    names = ("held_bytes", "charged_bytes", "uncharged_bytes")
    rows = sorted(found.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    return [
        {"kind": kind, "symbol": symbol, **dict(zip(names, row, strict=True))}
        for (kind, symbol), row in rows
        if any(row)
    ]


def site_bytes(history: History) -> tuple[list[int], list[int], list[int]]:
    """Returns of each call site what it holds at the end, and what was charged and uncharged, in bytes."""
    counts, page = history.sites, history.timeline.page_size
    last = counts.last("held", len(history.timeline.bins))
    held, charged, uncharged = (
        (of * page).tolist() for of in (last, counts.total("charged"), counts.total("uncharged"))
    )
    return held, charged, uncharged


def _caches(history: History) -> list[Json]:
    """Tells of each slab cache, of the whole machine."""
    counts, bins = history.caches, len(history.timeline.bins)
    rows = zip(
        counts.details,
        counts.last("bytes", bins).tolist(),
        counts.first("bytes").tolist(),
        counts.last("objects", bins).tolist(),
        strict=True,
    )
    found = [
        {
            "cache": one["cache"],
            "reclaimable": one["reclaimable"],
            "bytes": size,
            "change_bytes": size - before,
            "objects": objects,
        }
        for one, size, before, objects in rows
        if one["id"] is None and (size or before)
    ]
    return sorted(found, key=lambda row: (-row["bytes"], row["cache"]))


def _dead(history: History) -> list[Json]:
    """Tells of each removed cgroup that is still there at the end, and what holds it as far as is known."""
    dead = {key: one for key, one in history.last.items() if one.state == CgroupState.DEAD}
    if not dead:
        return []
    of = {cgroup_key(one): number for number, one in enumerate(history.cgroups.details)}
    held = history.cgroups.last("held", len(history.timeline.bins)) * history.timeline.page_size
    sites, caches = _sites_of(history, dead), _caches_of(history, dead)
    since = _dead_since(history)
    found = [
        {
            "path": history.names[of[key]],
            "id": key[2],
            "held_bytes": int(held[of[key]]),
            "dead_since": since.get(of[key]),
            "oldest_seconds": one.oldest_seconds,
            "counted_to": one.reparented_to,
            "slab_bytes": one.slab_bytes,
            "percpu_bytes": one.percpu_bytes,
            "sites": sites.get(key, []),
            "caches": caches.get(key, []),
        }
        for key, one in dead.items()
        if key in of
    ]
    return sorted(found, key=lambda row: (-row["held_bytes"], row["path"]))


def _dead_since(history: History) -> dict[int, float]:
    """Returns when each removed cgroup was first seen so; none of one that was so at the begin."""
    found: dict[int, int] = {}
    for bin_, which in history.cgroups.where("dead"):
        for number in which.tolist():
            found.setdefault(number, bin_)
    times = history.timeline.bins
    return {number: times[bin_].time for number, bin_ in found.items() if bin_}


def _sites_of(history: History, wanted: Any) -> dict[Any, list[Json]]:
    held, *_ = site_bytes(history)
    sums: dict[Any, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for detail, size in zip(history.sites.details, held, strict=True):
        if size and (key := cgroup_key(detail)) in wanted:
            sums[key][detail["kind"], detail["symbol"]] += size
    return {
        key: [
            {"kind": kind, "symbol": symbol, "held_bytes": size}
            for (kind, symbol), size in sorted(of.items(), key=lambda item: -item[1])[:_MOST_OF_DEAD]
        ]
        for key, of in sums.items()
    }


def _caches_of(history: History, wanted: Any) -> dict[Any, list[Json]]:
    sizes = history.caches.last("bytes", len(history.timeline.bins)).tolist()
    found: dict[Any, list[Json]] = defaultdict(list)
    for detail, size in zip(history.caches.details, sizes, strict=True):
        if size and (key := cgroup_key(detail)) in wanted:
            found[key].append({"cache": detail["cache"], "bytes": size})
    return {key: sorted(of, key=lambda row: -row["bytes"])[:_MOST_OF_DEAD] for key, of in found.items()}
