"""kmemtrace record: Snapshots over time, as Parquet files."""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmemtrace import text
from kmemtrace.commands.arguments import DURATION, GRAMMAR, OFF, duration, duration_or_off, size
from kmemtrace.commands.censuses import add_census_argument, open_both
from kmemtrace.commands.progress import progress, say
from kmemtrace.commands.session import (
    add_object_arguments,
    add_tracer_arguments,
    check_object_arguments,
)
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.commands.watch import Watch, tell_interruption
from kmemtrace.errors import ExitStatus, OutputError, UsageError
from kmemtrace.kernel.hooks import Hook
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.printable import printable
from kmemtrace.recording.needed import require

if TYPE_CHECKING:
    from kmemtrace.recording.writer import Writer

_INTERVAL = 1.0
_MOST_BYTES = 1 << 30
MERGED_AFTER, MERGED_BEYOND, MERGED_STEP = 7200.0, 32 << 20, 300.0
_WHOLE_SECONDS = 2.0
"""How long the first Snapshot waits, at most, for the pages that were charged before."""
_ENDING_SECONDS = 10.0
"""How long a command that is asked to end has for it."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "record",
        help=SUMMARIES["record"],
        description="Traces, and writes what changed into FOLDER at each interval, as Parquet: a file a "
        "minute, which is there whole or not at all. It ends with COMMAND, after --duration, or at Ctrl-C. "
        "What FOLDER has from before stays, as far as it is not too much (docs/analysis.md).",
        epilog=f"{GRAMMAR}\n\nexample:\n  sudo kmemtrace record -o pipes -- stress-ng --pipe 2 --timeout 10",
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what to run meanwhile, after --")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument(
        "--interval",
        type=duration,
        default=_INTERVAL,
        metavar=DURATION,
        help="time between Snapshots (default: %(default)gs)",
    )
    parser.add_argument("--duration", type=duration, metavar=DURATION, help="when to end")
    parser.add_argument(
        "--max-size",
        type=size,
        default=_MOST_BYTES,
        metavar="SIZE",
        help="of the whole recording, such as 500M; the oldest minutes are removed beyond it (default: 1G)",
    )
    parser.add_argument(
        "--max-age", type=duration, metavar=DURATION, help="older minutes are removed (default: none is)"
    )
    _add_merging_arguments(parser)
    add_tracer_arguments(parser)
    add_object_arguments(parser)
    add_census_argument(parser)
    parser.set_defaults(run=run)


def _add_merging_arguments(parser: argparse.ArgumentParser) -> None:
    titled = parser.add_argument_group(
        "old minutes",
        "They are merged into a file an hour, in which there are fewer Snapshots; each tells what it did.",
    )
    titled.add_argument(
        "--merge-after",
        type=duration_or_off,
        default=MERGED_AFTER,
        metavar=f"{DURATION}|{OFF}",
        help="how old a minute is then (default: 2h)",
    )
    titled.add_argument(
        "--merge-beyond",
        type=size,
        default=MERGED_BEYOND,
        metavar="SIZE",
        help="of all that is not merged; the oldest is merged earlier beyond it (default: 32M, and at most a "
        "quarter of --max-size)",
    )
    titled.add_argument(
        "--merge-step",
        type=duration,
        default=MERGED_STEP,
        metavar=DURATION,
        help="time between the Snapshots that stay (default: 5m)",
    )


def run(options: argparse.Namespace) -> ExitStatus:
    _check(options)
    require("pyarrow")
    # Here: nothing else needs pyarrow, which may be missing and takes time to import.
    from kmemtrace.recording.rotation import Detail, Limits  # noqa: PLC0415
    from kmemtrace.recording.writer import Writer  # noqa: PLC0415

    limits, detail = Limits(options.max_size, options.max_age), None
    if options.merge_after != OFF:
        # Rather merged than removed: room is left for what was merged.
        beyond = min(options.merge_beyond, options.max_size // 4)
        detail = Detail(options.merge_after, beyond, options.merge_step)
    # The folder first: what refuses it is told before anything is loaded.
    with (
        Writer(options.output, options.interval, limits, detail=detail, warn=say) as writer,
        open_both(options) as (keeper, tracer),
        keeper,
    ):
        writer.begin(about(tracer.plan))
        tracer.wait_until_judging(_WHOLE_SECONDS)
        keeper.wait_for_first()
        recorder = _Recorder(lambda: keeper.joined(tracer.snapshot()), writer, options.output)
        watch = Watch()
        with watch, progress(recorder.told, options.duration):
            _record(recorder, watch, options)
    asked = options.duration is not None
    if asked:
        tell_interruption(watch.interrupted_after, options.duration)
    print(f"kmemtrace: {recorder.summary()}", file=sys.stderr)
    if recorder.lost:
        return ExitStatus.CANNOT
    return ExitStatus.INCONCLUSIVE if asked and watch.interrupted_after is not None else ExitStatus.OK


def _check(options: argparse.Namespace) -> None:
    if options.command and options.duration is not None:
        raise UsageError("record ends with the command after --, or after --duration: leave one of them out.")
    if options.command and shutil.which(options.command[0]) is None:
        raise UsageError(f"{options.command[0]!r} is not a command that can be run.")
    check_object_arguments(options)


class _Recorder:
    """Takes Snapshots and has them written, and knows what to tell of that."""

    def __init__(self, source: Callable[[], Snapshot], writer: "Writer", folder: Path) -> None:
        self._source, self._writer, self._folder = source, writer, folder
        self._newest: Snapshot | None = None
        self.taken = -float("inf")
        """When the newest Snapshot was taken, by time.monotonic()."""
        self.lost = 0
        """How many minutes could not be written."""

    def take(self) -> None:
        """Takes a Snapshot; a minute that cannot be written is told of, and the recording goes on."""
        self.taken = time.monotonic()
        self._newest = snapshot = self._source()
        self._guarded(lambda: self._writer.add(snapshot))

    def finish(self) -> None:
        """Writes what is not written yet."""
        self._guarded(self._writer.finish)

    def _guarded(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except OutputError as error:
            self.lost += 1
            say(f"{error} The minute until now is lost.")

    def told(self) -> str:
        """Returns what the line of progress says."""
        found = self._newest
        if found is None:
            return "recording"
        return (
            f"recording: {len(found.cgroups):,} cgroups, {text.count(self._writer.rows)} rows, "
            f"{text.size(self._writer.bytes)} on disk, {text.count(found.losses.missed_events)} events missed"
        )

    def summary(self) -> str:
        """Returns what the command says at its end."""
        found = self._newest
        missed = 0 if found is None else found.losses.missed_events
        lost = f" {self.lost} of its minutes could not be written." if self.lost else ""
        return printable(
            f"Recorded {self._writer.moments:,} Snapshots, {self._writer.rows:,} rows, into {self._folder}, "
            f"which has {text.size(self._writer.bytes)} now. Events missed: {missed:,}.{lost}"
        )


def _record(recorder: _Recorder, watch: Watch, options: argparse.Namespace) -> None:
    """Takes Snapshots until the command has ended, the time is up, or a signal came."""
    recorder.take()
    with _running(options.command) as has_ended:
        for _ in watch.ticks(options.interval, options.duration):
            ended = has_ended()  # asked first, so that the Snapshot has all that the command did
            recorder.take()
            if ended:
                break
        else:
            if options.duration is not None:
                watch.wait_until(options.duration)
            if time.monotonic() - recorder.taken > options.interval / 4:
                recorder.take()
        recorder.finish()


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[Callable[[], bool]]:
    """Runs a command, if there is one, and yields what tells whether it has ended.

    Afterwards it has: it is asked to, and then made to.
    """
    if not command:
        yield lambda: False
        return
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        raise UsageError(f"{command[0]!r} cannot be run: {error.strerror}.") from None
    try:
        yield lambda: process.poll() is not None
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.returncode:
            say(printable(f"{command[0]} ended with status {process.returncode}."))


def about(plan: Plan) -> dict[str, Any]:
    """Returns what meta.json tells of a run: the kernel, and how each event is seen, or why it is not."""
    events: dict[str, Any] = {}
    for event, hook in plan.hooks.items():
        if isinstance(hook, Hook):
            events[event.value] = {"hook": hook.name, "mechanisms": plan.attachments(event)}
        else:
            events[event.value] = {"unseen": hook.reason}
    unjudged = {one.value: why for one, why in plan.unjudged.items()}
    told = {"events": events, "unprobed": plan.unprobed, "unjudged": unjudged}
    return {"kernel": plan.release, "tier": plan.tier, "plan": told}
