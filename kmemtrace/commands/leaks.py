"""kmemtrace leaks: which code still holds pages that were charged long ago."""

import argparse
import json
import re
import signal
import time
from types import FrameType

from kmemtrace.commands.arguments import positive_seconds
from kmemtrace.commands.session import add_tracer_arguments, open_tracer
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.enums import CgroupState
from kmemtrace.report.leaks import folded, leaks_document, report

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def age(text: str) -> float:
    """Seconds: 90, 90s, 5m, 2h or 1d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write it as 90s, 5m, 2h or 1d")
    return positive_seconds(str(float(found[1]) * _UNITS[found[2]]))


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "leaks",
        help="pages that are held for long, by call site and cgroup",
        description="Watches, and then lists the pages that were charged since the start and are held for "
        "longer than --older-than: those of removed cgroups first, each with the stack that asked for it.",
        epilog="Example: sudo kmemtrace leaks --older-than 60s --duration 10m --folded | flamegraph.pl",
    )
    parser.add_argument(
        "--older-than", type=age, default=60.0, metavar="AGE", help="as 90s, 5m, 2h (default: 60s)"
    )
    parser.add_argument(
        "--duration",
        type=age,
        metavar="AGE",
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
    duration = 2 * options.older_than if options.duration is None else options.duration
    if duration <= options.older_than:
        raise UsageError("--duration must be longer than --older-than: no page could become so old.")
    if options.no_sites and options.folded:
        raise UsageError("--folded prints stacks, which --no-sites does not record.")
    signal.signal(signal.SIGTERM, _stop)
    with open_tracer(options) as tracer:
        end = time.monotonic() + duration
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(2.0, left))
            tracer.snapshot()  # names the cgroups that come and go meanwhile
        snapshot = tracer.snapshot(older_than=options.older_than)
    old = [o for o in snapshot.old or () if not options.dead or o.state is CgroupState.DEAD]
    if options.json:
        write(json.dumps(leaks_document(snapshot, old, options.older_than)))
    elif options.folded:
        write("\n".join(folded(old)))
    else:
        write(report(snapshot, old, options.older_than))
    return ExitStatus.OK


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
