"""kmemtrace audit: is each cgroup charged for what is there, and for nothing else?"""

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

from kmemtrace.census.auditing import PAUSE_SECONDS, audited
from kmemtrace.census.census import Censor
from kmemtrace.commands.arguments import DURATION, GRAMMAR, duration
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.progress import progress
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.commands.watch import Watch
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.audit import READINGS, Audit, Outcome
from kmemtrace.model.census import Census
from kmemtrace.model.enums import Confidence
from kmemtrace.report.audit import audit_document, report

_MOST_ROWS = 20


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "audit",
        help=SUMMARIES["audit"],
        description="Reads all of the machine's kernel memory, and holds what the kernel says that it "
        "charged to each cgroup against the pages, slab objects and per-CPU areas that it is charged for, to "
        "the byte. Finds charges that were lost before kmemtrace was started. Nothing is attached.",
        epilog=f"Exit status: 0 balanced, 1 a count is certainly wrong, 3 inconclusive. {GRAMMAR}\n\n"
        "example:\n  sudo kmemtrace audit --json | jq '.cgroups[] | select(.outcome == \"drifted\")'",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with all cgroups")
    parser.add_argument("--cgroup", metavar="PATH", help="only this memory cgroup and those below it")
    parser.add_argument(
        "--readings",
        type=_readings,
        default=2 * READINGS,
        metavar="N",
        help=f"how often to read at most; {READINGS} have to agree to be certain (default: %(default)s)",
    )
    parser.add_argument(
        "--pause",
        type=duration,
        default=PAUSE_SECONDS,
        metavar=DURATION,
        help="between readings; the kernel's statistics lag by two seconds (default: 2.5s)",
    )
    parser.set_defaults(run=run)


def _readings(text: str) -> int:
    if not text.isdigit() or not READINGS <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {READINGS} to 1000")
    return int(text)


def run(options: argparse.Namespace) -> ExitStatus:
    with open_censor() as censor:
        found = _audited(censor, options)
    if options.json:
        write(json.dumps(audit_document(found, platform.node(), platform.release())))
    else:
        write(report(found, _MOST_ROWS))
    return _status(found)


def _audited(censor: Censor, options: argparse.Namespace) -> Audit:
    with Watch() as watch, progress("reading the kernel's memory"):
        return audited(
            lambda: _within(censor.take(), options.cgroup),
            options.readings,
            lambda: watch.wait(options.pause),
        )


def _within(census: Census, subtree: str | None) -> Census:
    if subtree is None:
        return census
    path = str(Path("/") / subtree.strip("/"))
    below = f"{path.rstrip('/')}/"
    cgroups = tuple(c for c in census.cgroups if c.path == path or c.path.startswith(below))
    if not cgroups:
        raise UsageError(f"There is no memory cgroup {subtree!r}. `kmemtrace audit` lists those there are.")
    return replace(census, cgroups=cgroups)


def _status(found: Audit) -> ExitStatus:
    if any(one.confidence is Confidence.CERTAIN for one in found.drifts):
        return ExitStatus.BAD
    if found.drifts or all(one.outcome is Outcome.UNREAD for one in found.cgroups):
        return ExitStatus.INCONCLUSIVE
    return ExitStatus.OK
