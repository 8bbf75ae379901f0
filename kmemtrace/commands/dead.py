"""kmemtrace dead: which removed cgroups the kernel still has, and what keeps them."""

import argparse
import json
import platform
import time

from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.progress import progress
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus
from kmemtrace.report.dead import dead_document, report

_MOST = 20


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "dead",
        help=SUMMARIES["dead"],
        description="Lists the memory cgroups that were removed, however long ago, and that something keeps: "
        "page cache by file, shared and anonymous memory, kernel memory, or mere references. Reads the "
        "kernel's memory once; nothing is attached.",
        epilog="example:\n  sudo kmemtrace dead --json | jq '.cgroups[0].pins'",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with all of them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> ExitStatus:
    with open_censor(kernel_memory=False) as censor, progress("reading the kernel's memory"):
        found = censor.removed()
    if options.json:
        write(json.dumps(dead_document(found, platform.node(), platform.release(), time.time())))
    else:
        write(report(found, _MOST))
    return ExitStatus.OK
