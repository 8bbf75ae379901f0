"""Writes the summary of a recording for a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from kmemtrace.history.history import History
from kmemtrace.printable import printable
from kmemtrace.report import mismatch
from kmemtrace.text import change, count, duration, padded, share, size, utc, width

Json = dict[str, Any]
_BY_CHARGED = "charged_bytes"


def report(history: History, summary: Json, most: int) -> str:
    """Tells what was recorded, losses first, and at most `most` rows of each table."""
    lines = [
        *_head(summary),
        *_losses(summary),
        "",
        _totals(summary),
        *_cgroups(summary, most),
        *_sites(summary, most),
        *_caches(summary, most),
        *_dead(summary, most),
        *_findings(history),
    ]
    return "\n".join(map(printable, lines))


def _head(summary: Json) -> list[str]:
    runs = len(summary["runs"])
    of_runs = f", in {runs} runs" if runs > 1 else ""
    merged = summary.get("merged")
    return [
        f"{summary['host']}, kernel {summary['kernel']}, {summary['tier']} tier",
        (
            f"{utc(summary['begin'])} to {utc(summary['end'])} UTC: {summary['snapshots']:,} Snapshots of "
            f"{duration(summary['watched_seconds'])}, one each {summary['interval_seconds']:g}s{of_runs}"
        ),
        *([f"merged: {merged_told(merged)}"] if merged else []),
    ]


def merged_told(merged: Json) -> str:
    """Says in a sentence what is no more to be told where minutes were merged."""
    until, step = utc(merged["until"]), merged["step_seconds"]
    return f"until {until} one Snapshot is left each {step:g}s; what was higher in between is in no PEAK"


def _losses(summary: Json) -> list[str]:
    lines = [f"missed: {losses_told(one)}" for one in summary["runs"]]
    if summary["minutes_left_out"]:
        lines.append(f"left out: {summary['minutes_left_out']} minutes, removed while they were read")
    if summary["unseen"]:
        lines.append(f"not seen: {', '.join(summary['unseen'])} (why: --json)")
    return lines


def losses_told(run: Json) -> str:
    """Says in a sentence what a run missed."""
    losses = run["losses"]
    skipped = losses.get("recursion_misses_by_program")
    parts = [
        *(f"program {name} skipped {n:,}" for name, n in (skipped or {}).items() if n),
        *(["what programs skipped this kernel does not tell"] if skipped is None else []),
        *(f"no room in map {name} {n:,}" for name, n in losses["map_full_by_map"].items() if n),
        *(
            f"{name.replace('_', ' ')} {losses[name]:,}"
            for name in ("ring_drops", "unpaired", "pages_busy", "healed", "swept", "unknown_stacks")
            if losses.get(name)
        ),
    ]
    found = ", ".join(parts)
    events = "no events" if not run["missed_events"] else f"{run['missed_events']:,} events"
    return f"{events}, since the begin of run {run['run']}" + (f" ({found})" if found else "")


def _totals(summary: Json) -> str:
    return (
        f"held in whole pages {size(summary['held_bytes'])} at the end "
        f"({change(summary['held_change_bytes'])}), charged {size(summary['charged_bytes'])}, uncharged "
        f"{size(summary['uncharged_bytes'])}, charges refused {summary['failed_charges']:,}, by "
        f"{len(summary['cgroups']):,} cgroups"
    )


def _cgroups(summary: Json, most: int) -> list[str]:
    by_held = [one for one in summary["cgroups"] if one["held_bytes"] or one["peak_bytes"]]
    by_charged = sorted(summary["cgroups"], key=lambda one: -one[_BY_CHARGED])
    by_charged = [one for one in by_charged if one[_BY_CHARGED]]
    lines = _cgroup_table("CGROUPS THAT HOLD MOST", by_held, most)
    if {one["path"] for one in by_charged[:most]} - {one["path"] for one in by_held[:most]}:
        lines += _cgroup_table("CGROUPS THAT WERE CHARGED MOST", by_charged, most)
    return lines


def _cgroup_table(title: str, found: Sequence[Json], most: int) -> list[str]:
    headings = ("HELD", "CHANGE", "PEAK", "CHARGED", "UNCHARGED", "REFUSED", "STATE")
    rows = [
        (
            size(one["held_bytes"]),
            change(one["held_change_bytes"]),
            size(one["peak_bytes"]),
            size(one["charged_bytes"]),
            size(one["uncharged_bytes"]),
            count(one["failed_charges"]),
            one["state"],
            one["path"] + (f" ({one['label']})" if one["label"] else ""),
        )
        for one in found[:most]
    ]
    return _table(title, (*headings, "CGROUP"), rows, len(found) - most)


def _sites(summary: Json, most: int) -> list[str]:
    found, whole = summary["sites"], summary["held_bytes"]
    rows = [
        (
            size(one["held_bytes"]),
            share(one["held_bytes"], whole),
            size(one["charged_bytes"]),
            size(one["uncharged_bytes"]),
            one["kind"],
            one["symbol"],
        )
        for one in found[:most]
    ]
    headings = ("HELD", "SHARE", "CHARGED", "UNCHARGED", "KIND", "FUNCTION")
    return _table("WHAT ASKED FOR THE PAGES", headings, rows, len(found) - most)


def _caches(summary: Json, most: int) -> list[str]:
    found = summary["caches"]
    rows = [
        (size(one["bytes"]), change(one["change_bytes"]), count(one["objects"]), one["cache"])
        for one in found[:most]
    ]
    headings = ("BYTES", "CHANGE", "OBJECTS", "CACHE")
    return _table("SLAB CACHES, AS OF THE LAST CENSUS", headings, rows, len(found) - most)


def _dead(summary: Json, most: int) -> list[str]:
    found = summary["dead"]
    if not found and not summary.get("dying_cgroups"):
        return []
    rows = [(size(one["held_bytes"]), since(one), one["path"], held_by(one)) for one in found[:most]]
    title = "REMOVED CGROUPS THAT HOLD PAGES"
    lines = _table(title, ("HELD", "REMOVED", "CGROUP", "BY"), rows, len(found) - most)
    if summary.get("dying_cgroups"):
        lines += ["", pinned(summary)]
    return lines


def since(dead: Json) -> str:
    """Says when a cgroup was removed."""
    return "before" if dead["dead_since"] is None else utc(dead["dead_since"])[11:]


def held_by(dead: Json) -> str:
    """Says what of a removed cgroup is still there, and which one it is counted to."""
    parts = [f"{one['symbol']} {size(one['held_bytes'])}" for one in dead["sites"]]
    parts += [f"{one['cache']} {size(one['bytes'])}" for one in dead["caches"]]
    to = f"; counted to {dead['counted_to']}" if dead["counted_to"] else ""
    return ", ".join(parts) + to


def pinned(summary: Json) -> str:
    """Says what all removed cgroups of the machine keep, those from before the recording included."""
    parts = [f"{size(n)} {what}" for what, n in summary["pinned_bytes"].items() if n]
    return (
        f"The kernel still has {summary['dying_cgroups']:,} removed cgroups, with "
        f"{', '.join(parts) or 'nothing'} charged to them: kmemtrace dead tells by which files."
    )


def _findings(history: History) -> list[str]:
    lines = ["", "MISMATCHES"]
    for one in history.endings:
        for found in one.mismatches:
            lines += ["", *mismatch.lines(found)]
    return lines if len(lines) > 2 else ["", "No mismatch was found."]


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], more: int) -> list[str]:
    """Lays out a table: names, which stand last, to the left, all before to the right."""
    cells = [tuple(map(printable, row)) for row in rows]
    if not cells:
        return []
    lines = ["", title]
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    names = {"CGROUP", "FUNCTION", "CACHE", "KIND", "STATE", "REMOVED", "BY"}
    for row in (headings, *cells):
        parts = [
            padded(cell, wide, left=heading in names)
            for cell, wide, heading in zip(row, widths, headings, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return [*lines, *([f"... and {more:,} more"] if more > 0 else [])]
