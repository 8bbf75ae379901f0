"""kmemtrace verify: does this kernel keep the promise for what a command does?"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from kmemtrace.cgroups.drift import read_counter
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.workload import WorkloadCgroup, workload_cgroup
from kmemtrace.commands.arguments import DURATION, duration, entries
from kmemtrace.commands.session import make_tracer
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, KmemtraceError, OutputError, UsageError
from kmemtrace.model.enums import Confidence, MismatchClass, Tier
from kmemtrace.model.snapshot import Losses, Mismatch, Snapshot
from kmemtrace.model.verification import CounterReading, Verdict, Verification
from kmemtrace.report.junit import junit
from kmemtrace.report.verification import report, verification_document
from kmemtrace.tracer.tracer import Tracer, page_events_missed

_DRAIN_SECONDS = 10.0
_QUIET_SECONDS = 2.5
"""How long nothing must change before all is taken for drained; longer than statistics lag."""
_STATUS = {
    Verdict.BALANCED: ExitStatus.OK,
    Verdict.MISMATCH: ExitStatus.BAD,
    Verdict.INCONCLUSIVE: ExitStatus.INCONCLUSIVE,
}


class InterruptedVerificationError(KmemtraceError):
    status = ExitStatus.INCONCLUSIVE


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "verify",
        help="prove that each page charged to a command is uncharged as it was charged",
        description="Runs COMMAND in a memory cgroup of its own, lets what it freed drain, and reconciles "
        "every page charged there. Without COMMAND, watches the whole machine for --duration.",
        epilog="Exit status: 0 balanced, 1 a mismatch was found, 3 inconclusive, because events were "
        "missed. Example: sudo kmemtrace verify --junit kmem.xml -- stress-ng --pipe 2 --timeout 10",
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what to run, after --")
    parser.add_argument(
        "--duration", type=duration, metavar=DURATION, help="watch so long instead; Ctrl-C ends it early"
    )
    parser.add_argument(
        "--drain",
        type=duration,
        default=_DRAIN_SECONDS,
        metavar=DURATION,
        help="how long to wait, at most, for what is freed late (default: %(default)gs)",
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


def run(options: argparse.Namespace) -> ExitStatus:
    _check(options)
    signal.signal(signal.SIGTERM, _stop)
    try:
        found = _verify_command(options) if options.command else _verify_machine(options)
    except KeyboardInterrupt:
        raise InterruptedVerificationError("Interrupted: there is no verdict.") from None
    write(json.dumps(verification_document(found)) if options.json else report(found))
    if options.junit is not None:
        try:
            options.junit.write_text(junit(found), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{options.junit} cannot be written: {error.strerror}.") from None
    return _STATUS[found.verdict]


def _check(options: argparse.Namespace) -> None:
    """Refuses, before anything is attached, what could only fail later."""
    if bool(options.command) == (options.duration is not None):
        raise UsageError("verify wants either a command after -- or --duration.")
    if options.command and shutil.which(options.command[0]) is None:
        raise UsageError(f"{options.command[0]!r} is not a command that can be run.")
    if options.junit is not None and not options.junit.parent.is_dir():
        raise UsageError(f"{options.junit} cannot be written: there is no folder {options.junit.parent}.")


def _verify_command(options: argparse.Namespace) -> Verification:
    hierarchy = memory_hierarchy()
    with (
        workload_cgroup(hierarchy) as cgroup,
        make_tracer(_tier(options), cgroup.path, options.max_pages) as tracer,
    ):
        begin, missed = time.monotonic(), _missed(tracer.snapshot().losses)
        # A program that reads our JSON wants nothing else there.
        status = cgroup.run(options.command, sys.stderr if options.json else None)
        ended = cgroup.wait_until_empty(options.drain)
        killed = 0 if ended else len(cgroup.processes())
        cgroup.kill()
        snapshot = _drained(tracer, options.drain, lambda s: s.held_pages)
        counter, drift = _reconcile(tracer, cgroup)
        cgroup.remove()
        # What a removed cgroup still holds is let go of when it is released, a moment later.
        snapshot = _drained(tracer, options.drain, lambda s: s.held_pages)
        missed = _missed(snapshot.losses) - missed
        return _verification(options, tracer, snapshot, begin, missed, (status, killed), counter, drift)


def _verify_machine(options: argparse.Namespace) -> Verification:
    with make_tracer(_tier(options), None, options.max_pages) as tracer:
        begin, missed = time.monotonic(), _missed(tracer.snapshot().losses)
        with suppress(KeyboardInterrupt):  # enough seen
            while (left := begin + options.duration - time.monotonic()) > 0:
                time.sleep(min(2.0, left))
                tracer.snapshot()
        time.sleep(1.1)  # an uncharged allocation is judged a moment later
        snapshot = tracer.snapshot()
        missed = _missed(snapshot.losses) - missed
        return _verification(options, tracer, snapshot, begin, missed, (None, 0), None, ())


def _drained(tracer: Tracer, seconds: float, held: Callable[[Snapshot], int]) -> Snapshot:
    """The first Snapshot after what is held has not changed for a while, or that time is up."""
    snapshot = tracer.snapshot()
    quiet_since, deadline = time.monotonic(), time.monotonic() + seconds
    while (now := time.monotonic()) < deadline and now < quiet_since + _QUIET_SECONDS:
        time.sleep(0.25)
        before, snapshot = snapshot, tracer.snapshot()
        if held(snapshot) != held(before):
            quiet_since = time.monotonic()
    return snapshot


def _reconcile(tracer: Tracer, cgroup: WorkloadCgroup) -> tuple[CounterReading | None, tuple[Mismatch, ...]]:
    """The cgroup's counter against what it consists of, and the drift if there is one twice."""
    first = read_counter(tracer.hierarchy, cgroup.folder, tracer.snapshot().held_pages)
    if first is None:
        return None, ()
    if first.drifted:
        time.sleep(_QUIET_SECONDS)
    counter = read_counter(tracer.hierarchy, cgroup.folder, tracer.snapshot().held_pages)
    if counter is None:
        return None, ()
    reading = CounterReading(counter.charged, counter.parts, counter.slack)
    if not (first.drifted and counter.drifted):
        return reading, ()
    parts = ", ".join(f"{name} {pages}" for name, pages in counter.parts.items())
    now = time.time()
    drift = Mismatch.of_no_page(
        MismatchClass.COUNTER_DRIFT.label,
        Confidence.CERTAIN.value,
        charged_to=cgroup.path,
        time=now,
        first_time=now,
        events=(
            (
                f"the cgroup's counter says {counter.charged} pages, its parts add up to "
                f"{counter.charged - counter.drift} ({parts}): {counter.drift:+} pages, where up to "
                f"{counter.slack} are what its CPUs may have charged ahead"
            ),
        ),
    )
    return reading, (drift,)


def _verification(
    options: argparse.Namespace,
    tracer: Tracer,
    snapshot: Snapshot,
    begin: float,
    missed: int,
    ended: tuple[int | None, int],
    counter: CounterReading | None,
    drift: tuple[Mismatch, ...],
) -> Verification:
    unjudged = {c.label: why for c, why in tracer.plan.unjudged.items()}
    if options.command and counter is not None:
        unjudged.pop(MismatchClass.COUNTER_DRIFT.label, None)
    elif options.command:
        unjudged[MismatchClass.COUNTER_DRIFT.label] = "this kernel does not tell what its counter counts"
    status, killed = ended
    return Verification(
        command=tuple(options.command),
        command_status=status,
        seconds=time.monotonic() - begin,
        snapshot=snapshot,
        missed_events=missed,
        unjudged=unjudged,
        counter=counter,
        mismatches=(*drift, *snapshot.mismatches),
        killed=killed,
    )


def _missed(losses: Losses) -> int:
    """Events of pages that were not seen, and pages and findings that no map had room for."""
    full = losses.map_full["pages"] + losses.map_full["cgroups"]
    return page_events_missed(losses) + full + losses.ring_drops


def _tier(options: argparse.Namespace) -> Tier | None:
    return None if options.tier is None else Tier(options.tier)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
