"""kmemtrace diff: what grew from one recording to another."""

import argparse
import json
import re
from pathlib import Path

from kmemtrace.commands.arguments import up_to
from kmemtrace.commands.progress import say
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus
from kmemtrace.model.comparison import LEAST_PARTS, Comparison, Measure, RowKind, compare
from kmemtrace.printable import printable
from kmemtrace.recording.needed import require
from kmemtrace.report.diff import diff_document, report

_MOST = 10
_MOST_ROWS = 1_000_000
_SCALED = (Measure.HELD, Measure.CHARGED, Measure.TIME)
"""Measures of which it can be said how many percent they are uncertain by."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "diff",
        help=SUMMARIES["diff"],
        description="Compares two recordings, as of before and after a kernel or a deploy: what is held, "
        "and charged, by cgroup, function and slab cache, a second and a charge. A difference that its "
        "spread, or events that were missed, could have made is not called growth (docs/analysis.md). It "
        "needs no root.",
        epilog="example:\n  sudo kmemtrace diff before after --fail-over 5%",
    )
    parser.add_argument("before", type=Path, metavar="A", help="what `record` wrote before")
    parser.add_argument("after", type=Path, metavar="B", help="what it wrote afterwards")
    parser.add_argument(
        "--fail-over",
        type=_percent,
        metavar="PERCENT",
        help="end with status 1 if anything grew by more than that for certain, 3 if that cannot be told",
    )
    parser.add_argument(
        "--measure",
        action="append",
        choices=[one.value for one in Measure],
        metavar="WHAT",
        help="compare this only: %(choices)s; may be repeated (default: all)",
    )
    parser.add_argument(
        "--by-stack",
        action="store_true",
        help="tell call sites apart by whole stacks, which differ between kernels (default: by function)",
    )
    parser.add_argument(
        "--most",
        type=up_to(_MOST_ROWS),
        default=_MOST,
        metavar="N",
        help="rows of each kind and measure that are listed (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with all rows")
    parser.set_defaults(run=run)


def _percent(text: str) -> float:
    """Returns the part that a text says: 5%, 5, 0.5%."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not found or float(found[1]) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: write it as 5%")
    return float(found[1]) / 100


def run(options: argparse.Namespace) -> ExitStatus:
    require("pyarrow")
    # Here: nothing else needs pyarrow, which may be missing and takes time to import.
    from kmemtrace.recording.folder import named  # noqa: PLC0415
    from kmemtrace.recording.parts import side_of  # noqa: PLC0415

    before, after = (
        side_of(named(folder), str(folder), by_stack=options.by_stack)
        for folder in (options.before, options.after)
    )
    found = compare(
        before, after, [one for one in Measure if one.value in (options.measure or list(Measure))]
    )
    write(
        json.dumps(diff_document(found, options.fail_over)) if options.json else report(found, options.most)
    )
    return ExitStatus.OK if options.fail_over is None else _judged(found, options.fail_over)


def _judged(found: Comparison, over: float) -> ExitStatus:
    """Says on stderr whether anything grew by more than was allowed."""
    grew = [one for one in found.differences if one.grew_over(over)]
    if grew:
        named = [f"{one.measure} of {one.key.kind} {one.key.name}".rstrip() for one in grew]
        more = f", and {len(named) - 3:,} more" if len(named) > 3 else ""
        which = printable(f"{'; '.join(named[:3])}{more}")
        say(f"From A to B grew by more than {100 * over:g}%, for certain: {which}.")
        return ExitStatus.BAD
    whole = [one for one in found.differences if one.key.kind is RowKind.ALL and one.measure in _SCALED]
    hidden = [one.measure.value for one in whole if one.could_hide(over)]
    if hidden or not whole or min(len(found.before.parts), len(found.after.parts)) < LEAST_PARTS:
        unsure = ", ".join(hidden) or "all"
        say(
            f"Whether anything grew by more than {100 * over:g}% cannot be told: {unsure} is uncertain by "
            "more than that. Record for longer, or name what matters by --measure."
        )
        return ExitStatus.INCONCLUSIVE
    return ExitStatus.OK
