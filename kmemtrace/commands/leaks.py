"""kmemtrace leaks: which code still holds pages that were charged long ago."""

import argparse
import json

from kmemtrace.commands.arguments import DURATION, GRAMMAR, duration
from kmemtrace.commands.progress import progress
from kmemtrace.commands.session import add_tracer_arguments, open_tracer
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.commands.watch import Watch, tell_interruption
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.report.leaks import folded, leaks_document, report

_NAMING_SECONDS = 2.0
"""How often the maps are read meanwhile, for the names of cgroups that come and go."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "leaks",
        help=SUMMARIES["leaks"],
        description="Watches, and then lists the pages that were charged since the start and are held for "
        "longer than --older-than: those of removed cgroups first, each with the stack that asked for it.",
        epilog=f"{GRAMMAR}\n\nexample:\n"
        "  sudo kmemtrace leaks --older-than 60s --duration 10m --folded | flamegraph.pl",
    )
    parser.add_argument(
        "--older-than",
        type=duration,
        default=60.0,
        metavar=DURATION,
        help="how long a page must be held to be listed (default: 60s)",
    )
    parser.add_argument(
        "--duration",
        type=duration,
        metavar=DURATION,
        help="how long to watch before (default: twice --older-than, so that as much can be seen to age)",
    )
    parser.add_argument("--dead", action="store_true", help="only pages of removed cgroups")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object")
    output.add_argument(
        "--folded", action="store_true", help="a stack per line with its pages, for flame graphs"
    )
    add_tracer_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> ExitStatus:
    seconds = 2 * options.older_than if options.duration is None else options.duration
    if seconds <= options.older_than:
        raise UsageError("--duration must be longer than --older-than: no page could become so old.")
    if options.no_sites and options.folded:
        raise UsageError("--folded prints stacks, which --no-sites does not record.")
    snapshot, older_than, interrupted = _watched(options, seconds)
    old = [o for o in snapshot.old or () if not options.dead or o.state is CgroupState.DEAD]
    if options.json:
        write(json.dumps(leaks_document(snapshot, old, older_than, interrupted=interrupted)))
    elif options.folded:
        write("\n".join(folded(old)))
    else:
        write(report(snapshot, old, older_than))
    return ExitStatus.INCONCLUSIVE if interrupted else ExitStatus.OK


def _watched(options: argparse.Namespace, seconds: float) -> tuple[Snapshot, float, bool]:
    """Watches for so many seconds.

    Returns:
        The Snapshot, the age in seconds of what it lists, and whether it is of an earlier moment because of
        an interruption: if none was held for --older-than by then, it lists what was held for half of the
        time.
    """
    with (
        open_tracer(options) as tracer,
        Watch() as watch,
        progress("watching; Ctrl-C tells what is known by then", seconds),
    ):
        for _ in watch.ticks(_NAMING_SECONDS, seconds):
            tracer.snapshot()
        watch.wait_until(seconds)
        after, older_than = watch.interrupted_after, options.older_than
        if after is not None and after <= older_than:
            older_than = round(after / 2, 2)
        snapshot = tracer.snapshot(older_than=older_than)
    tell_interruption(after, seconds)
    return snapshot, older_than, after is not None
