"""kmemtrace verify: does this kernel keep the promise for what a command does?"""

import argparse
import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from kmemtrace.cgroups.left_behind import LeftBehind, clear_left_behind
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.able import require_able, tracer_bytes
from kmemtrace.commands.arguments import DURATION, GRAMMAR, duration, entries
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.progress import progress
from kmemtrace.commands.session import make_tracer
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.commands.watch import Watch, tell_interruption
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, OutputError, UsageError
from kmemtrace.model.enums import Tier
from kmemtrace.model.verification import Verdict, Verification
from kmemtrace.printable import printable
from kmemtrace.report.junit import junit
from kmemtrace.report.verification import report, verification_document
from kmemtrace.verification.verifier import Verifier

_DRAIN_SECONDS = 10.0
_TICK_SECONDS = 2.0
"""Seconds between readings that learn the names of cgroups that come and go."""
_BY_SIGNAL = 128
"""Base of the exit status by which a shell tells of a command that a signal ended: it adds the signal's
number."""
_STATUS = {
    Verdict.BALANCED: ExitStatus.OK,
    Verdict.MISMATCH: ExitStatus.BAD,
    Verdict.INCONCLUSIVE: ExitStatus.INCONCLUSIVE,
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "verify",
        help=SUMMARIES["verify"],
        description="Runs COMMAND in a memory cgroup of its own, lets what it freed drain, and reconciles "
        "every page charged there. Without COMMAND, watches the whole machine for --duration. What COMMAND "
        "has others do for it, such as a container engine or a service manager, only --duration sees.",
        epilog="Exit status: 0 balanced, 1 a mismatch was found, 3 inconclusive, because events were "
        f"missed, or because the command failed or left processes behind. {GRAMMAR}\n\nexample:\n"
        "  sudo kmemtrace verify --junit kmem.xml -- stress-ng --pipe 2 --timeout 10",
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what to run, after --")
    parser.add_argument("--duration", type=duration, metavar=DURATION, help="watch so long instead")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="judge also the cgroups that processes of COMMAND go to, whoever else is charged there",
    )
    parser.add_argument(
        "--drain",
        type=duration,
        default=_DRAIN_SECONDS,
        metavar=DURATION,
        help="how long to wait, at most, for what is freed late (default: %(default)gs)",
    )
    parser.add_argument(
        "--pass-status",
        action="store_true",
        help="if the verdict is balanced, end with the command's own status, or 128 and the number of the "
        "signal that killed it",
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML, a test per class")
    parser.add_argument(
        "--tier", choices=[t.value for t in Tier], help="how to trace (default: the best that works)"
    )
    parser.add_argument(
        "--max-pages", type=entries, metavar="N", help="charged pages that can be followed at a time"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    _check(options)
    require_able(tracer_bytes(options.max_pages))
    for left in clear_left_behind(memory_hierarchy()):
        _tell(left)
    found = _verify(options)
    write(json.dumps(verification_document(found)) if options.json else report(found))
    if options.junit is not None:
        try:
            options.junit.write_text(junit(found), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{options.junit} cannot be written: {error.strerror}.") from None
    return exit_status(found, pass_status=options.pass_status)


def exit_status(found: Verification, *, pass_status: bool) -> int:
    """Returns the verdict's exit status.

    Where the verdict is balanced and the command failed, it is INCONCLUSIVE, for what it was to do may not
    have been done; with `pass_status` it is the command's own.
    """
    if found.verdict is not Verdict.BALANCED or not found.command_status:
        return _STATUS[found.verdict]
    if not pass_status:
        return ExitStatus.INCONCLUSIVE
    return found.command_status if found.command_status > 0 else _BY_SIGNAL - found.command_status


def _tell(left: LeftBehind) -> None:
    """Tells on stderr what was found of a run that could not clear up after itself."""
    ended = f" with {', '.join(left.processes)}, now ended" if left.processes else ""
    stays = f" It stays: {left.stays.removesuffix('.')}." if left.stays else ""
    told = f"kmemtrace: A verify that was killed had left the cgroup {left.path} behind{ended}.{stays}"
    print(printable(told), file=sys.stderr)


def _check(options: argparse.Namespace) -> None:
    """Refuses, before anything is attached, what could only fail later.

    Raises:
        UsageError: The options do not fit together, or to this machine.
    """
    if bool(options.command) == (options.duration is not None):
        raise UsageError("verify wants either a command after -- or --duration.")
    if options.follow and not options.command:
        raise UsageError("--follow is for a command: --duration watches the whole machine anyway.")
    if options.command and shutil.which(options.command[0]) is None:
        raise UsageError(f"{options.command[0]!r} is not a command that can be run.")
    if options.junit is not None and not options.junit.parent.is_dir():
        raise UsageError(f"{options.junit} cannot be written: there is no folder {options.junit.parent}.")


def _verify(options: argparse.Namespace) -> Verification:
    verifier = Verifier(
        functools.partial(make_tracer, tier=_tier(options), max_pages=options.max_pages, steady=True),
        open_censor,
        options.drain,
        progress,
    )
    if options.command:
        # A program that reads our JSON wants nothing else there.
        output = sys.stderr if options.json else None
        return verifier.of_command(options.command, output, follow=options.follow)
    watch = Watch()
    found = verifier.of_machine(_ticks(watch, options.duration))
    return dataclasses.replace(found, interrupted=watch.interrupted_after is not None)


def _ticks(watch: Watch, seconds: float) -> Iterator[None]:
    """Yields every few seconds, until the time is up or a signal says that enough was seen."""
    with watch, progress("watching; Ctrl-C tells what is known by then", seconds):
        yield from watch.ticks(_TICK_SECONDS, seconds)
        watch.wait_until(seconds)
    tell_interruption(watch.interrupted_after, seconds)


def _tier(options: argparse.Namespace) -> Tier | None:
    return None if options.tier is None else Tier(options.tier)
