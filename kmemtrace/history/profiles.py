"""Writes call sites as CSV, as folded stacks and for speedscope."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from kmemtrace import __version__
from kmemtrace.history.samples import Sample, Value
from kmemtrace.printable import printable

_COLUMNS = ("cgroup", "state", "kind", "symbol", "held_bytes", "charged_bytes", "uncharged_bytes", "stack")


def as_csv(found: Sequence[Sample]) -> str:
    """Writes a line for each call site; `stack` has its frames, innermost first, with ';' between them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in found:
        names = (_inert(one.cgroup), one.state, one.kind, one.symbol)
        writer.writerow((*names, one.held, one.charged, one.uncharged, ";".join(one.stack)))
    return file.getvalue().rstrip("\n")


def _inert(name: str) -> str:
    """Makes a name that others chose one that neither a terminal nor a spreadsheet acts on."""
    shown = printable(name)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def folded(found: Sequence[Sample], value: Value, page_size: int) -> str:
    """Folds stacks into lines `cgroup;outermost;...;innermost pages`, as `kmemtrace leaks` does."""
    sums: dict[str, int] = defaultdict(int)
    for one in found:
        name = printable(one.cgroup).replace(";", ":").replace(" ", "_")
        sums[";".join([name, *one.functions])] += one.value(value) // page_size
    rows = sorted(((stack, pages) for stack, pages in sums.items() if pages > 0), key=lambda row: -row[1])
    return "\n".join(f"{stack} {pages}" for stack, pages in rows)


def speedscope(found: Sequence[Sample], name: str) -> str:
    """Writes a file for https://www.speedscope.app, with a profile for each value.

    Its stacks begin with the cgroup.
    """
    frames: dict[str, int] = {}
    stacks = [
        [frames.setdefault(frame, len(frames)) for frame in (printable(one.cgroup), *one.functions)]
        for one in found
    ]
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": f"kmemtrace {__version__}",
            "name": name,
            "activeProfileIndex": 0,
            "profiles": [_profile(found, stacks, value) for value in Value],
            "shared": {"frames": [{"name": frame} for frame in frames]},
        }
    )


def _profile(found: Sequence[Sample], stacks: list[list[int]], value: Value) -> dict[str, Any]:
    kept = [
        (stack, one.value(value)) for stack, one in zip(stacks, found, strict=True) if one.value(value) > 0
    ]
    return {
        "type": "sampled",
        "name": value.value,
        "unit": "bytes",
        "startValue": 0,
        "endValue": sum(size for _, size in kept),
        "samples": [stack for stack, _ in kept],
        "weights": [size for _, size in kept],
    }
