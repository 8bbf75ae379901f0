"""Makes the report of `kmemtrace diff`, as text and JSON."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from kmemtrace import text
from kmemtrace.model.comparison import (
    LEAST_PARTS,
    OUTSIDE,
    Comparison,
    Difference,
    Estimate,
    Measure,
    RowKind,
    Side,
    Verdict,
)
from kmemtrace.printable import printable

SCHEMA_VERSION = 1
_MOST_PERCENT = 1000.0
"""From where on a percentage tells less than the figure itself."""
_KINDS = {
    RowKind.ALL: "all together",
    RowKind.CGROUP: "cgroup",
    RowKind.SITE: "function",
    RowKind.CACHE: "cache",
}
_LABELS = {
    Measure.HELD: "held",
    Measure.CHARGED: "charged/s",
    Measure.GROWTH: "growth/s",
    Measure.KEPT: "kept of a charge",
    Measure.TIME: "time of a charge",
}


def report(found: Comparison, most: int) -> str:
    """Makes the text.

    Args:
        found: What is told.
        most: How many rows of each kind that grew are listed, and how many that shrank.
    """
    lines = [_side("A, before", found.before), _side("B, after", found.after), *notes(found), ""]
    lines += [f"{'':6}  {'':16}  {'A':>9}  {'B':>9}  {'B - A':>9}  uncertain by"]
    lines += [_line(one) for one in found.differences if one.key.kind is RowKind.ALL]
    for verdict in (Verdict.GREW, Verdict.SHRANK):
        lines += ["", f"What {verdict.value} from A to B:", *_listed(found, verdict, most)]
    inside = sum(one.verdict in (Verdict.WITHIN, Verdict.UNKNOWN) for one in found.differences)
    lines += ["", f"{inside:,} of {len(found.differences):,} differences lie inside their uncertainty."]
    return "\n".join(printable(line) for line in lines)


def _listed(found: Comparison, verdict: Verdict, most: int) -> Iterator[str]:
    rest = 0
    for kind in (RowKind.CGROUP, RowKind.SITE, RowKind.CACHE):
        for measure in Measure:
            of = [
                one
                for one in found.differences
                if (one.key.kind, one.measure, one.verdict) == (kind, measure, verdict)
            ]
            yield from map(_line, of[:most])
            rest += len(of[most:])
    if rest:
        yield f"... and {rest:,} more (--most, or --json)"
    elif not any(one.verdict is verdict and one.key.kind is not RowKind.ALL for one in found.differences):
        yield f"nothing that could be told from chance: no row {verdict.value} by more than it is uncertain"


def _side(which: str, side: Side) -> str:
    parts = (
        f"{which}: {side.folder}, of {side.host}, {side.kernel}, {side.tier} tier, from",
        f"{text.moment(side.begin)} on: {text.duration(side.seconds)} in {len(side.parts)} parts,",
        f"{side.missed_events:,} events missed",
    )
    return " ".join(parts)


def notes(found: Comparison) -> list[str]:
    """Says what a reader has to know before they believe it."""
    a, b = found.before, found.after
    said = []
    if a.begin > b.begin:
        said.append("Note: B was recorded before A.")
    if a.tier != b.tier:
        differing = sorted(set(a.unseen) ^ set(b.unseen))
        said.append(
            f"Note: A and B were traced in different ways ({a.tier}; {b.tier}). What only one of them sees "
            f"may look like growth: {', '.join(differing) or 'nothing'}."
        )
    for which, side, other in (("A", a, b), ("B", b, a)):
        if other.tells_caches and not side.tells_caches:
            said.append(f"Note: {which} has no census, so slab caches are not compared.")
        if len(side.parts) < LEAST_PARTS:
            said.append(f"Note: {which} has too few moments to tell its spread: record for longer.")
    return said


def _line(one: Difference) -> str:
    measure, form = one.measure, _form(one.measure)
    uncertain = (
        "not known" if one.uncertainty is None else f"{form(one.uncertainty)}{_share(one, one.uncertainty)}"
    )
    words = {Verdict.GREW: "GREW", Verdict.SHRANK: "shrank", Verdict.WITHIN: "~", Verdict.UNKNOWN: "?"}
    sign = "+" if one.change > 0 else ""
    name = f"{_KINDS[one.key.kind]} {one.key.name}".rstrip()
    cells = (
        f"{words[one.verdict]:6}",
        f"{_LABELS[measure]:16}",
        f"{form(one.before.value):>9}",
        f"{form(one.after.value):>9}",
        f"{sign + form(one.change):>9}",
        f"± {uncertain:16}",
        f"{_change(one):>7}",
        name,
    )
    return "  ".join(cells)


def _change(one: Difference) -> str:
    if not one.before.value:
        return "new" if one.after.value else ""
    return f"{100 * one.change / abs(one.before.value):+.0f}%"


def _share(one: Difference, of: float) -> str:
    percent = 100 * of / abs(one.before.value) if one.before.value else _MOST_PERCENT
    return f" ({percent:.0f}%)" if percent < _MOST_PERCENT else ""


def _form(measure: Measure) -> Any:
    if measure is Measure.TIME:
        return lambda value: f"{'-' if value < 0 else ''}{text.duration(abs(value))}"
    if measure is Measure.KEPT:
        return lambda value: f"{value:.3g}"
    return lambda value: text.size(round(value))


def diff_document(found: Comparison, over: float | None) -> dict[str, Any]:
    """Makes the JSON document: all rows, also those of which nothing is known.

    Args:
        found: What is told.
        over: The part that --fail-over names; None where it was not given.
    """
    told: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "a": _side_document(found.before),
        "b": _side_document(found.after),
        "notes": [one.removeprefix("Note: ") for one in notes(found)],
        "confidence": {"together": 1 - OUTSIDE, "each": 1 - found.outside},
        "differences": [_difference_document(one, over) for one in found.differences],
    }
    return told if over is None else {**told, "fail_over": over}


def _side_document(side: Side) -> dict[str, Any]:
    names = ("folder", "host", "kernel", "tier", "begin", "missed_events", "doubtful_bytes")
    told = {name: getattr(side, name) for name in names}
    return {**told, "seconds": side.seconds, "parts": len(side.parts), "unseen": dict(side.unseen)}


def _difference_document(one: Difference, over: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "kind": one.key.kind.value,
        "name": one.key.name,
        "measure": one.measure.value,
        "unit": one.measure.unit,
        "a": _estimate_document(one.before),
        "b": _estimate_document(one.after),
        "change": one.change,
        "verdict": one.verdict.value,
    }
    if one.uncertainty is not None:
        told["uncertainty"] = one.uncertainty
    return told if over is None else {**told, "over": one.grew_over(over)}


def _estimate_document(one: Estimate) -> dict[str, Any]:
    return dataclasses.asdict(one)
