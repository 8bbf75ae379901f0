"""Shows a recording in place of what is traced: `--replay` of `top`, and what `export` needs of it."""

import argparse
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kmemtrace.commands.frames import text_of
from kmemtrace.commands.session import refuse_tracing_arguments
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.recording.needed import require
from kmemtrace.text import epoch

if TYPE_CHECKING:
    from kmemtrace.recording.replay import Replay

_WHY = "--replay reads a recording"


def add_replay_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FOLDER",
        help="what `record` wrote, in place of this machine; `sample` is a recording that comes with "
        "kmemtrace. It needs neither root nor BPF",
    )


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    add_replay_argument(parser)
    parser.add_argument(
        "--at",
        type=_time,
        metavar="TIME",
        help="with --replay: the moment to begin at, or with --once to show, such as '2026-03-01 03:00', "
        "in UTC (default: the first; with --once the last)",
    )


def _time(text: str) -> float:
    """Returns seconds since the epoch; without an offset it is UTC, as a recording is."""
    try:
        return epoch(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write it as '2026-03-01 03:00' or 2026-03-01T03:00:00+01:00"
        ) from None


def refuse_tracing(options: argparse.Namespace) -> None:
    """Refuses what says how to trace.

    Raises:
        UsageError: Such an option was given.
    """
    refuse_tracing_arguments(options, _WHY)


def refuse_watching(options: argparse.Namespace) -> None:
    """Refuses what says how to trace, or for how long.

    Raises:
        UsageError: Such an option was given.
    """
    refuse_tracing(options)
    if options.prometheus is not None:
        raise UsageError(f"{_WHY}, and --prometheus asks a server: leave one of them out.")
    for name in ("interval", "duration"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for watching, and {_WHY}, which has its own: leave it out.")


def opened(folder: Path) -> "Replay":
    """Opens a recording.

    Raises:
        CannotError: pyarrow is missing.
        DamagedError: It is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    require("pyarrow")
    # Here: nothing else needs pyarrow, which may be missing and takes time to import.
    from kmemtrace.recording.folder import named  # noqa: PLC0415
    from kmemtrace.recording.replay import Replay  # noqa: PLC0415

    return Replay(named(folder))


def replay(options: argparse.Namespace, view: View, *, on_terminal: bool) -> ExitStatus:
    """Shows a recording, as the options of `top` want it."""
    reel = opened(options.replay)
    if on_terminal:
        from kmemtrace.tui.player import Player  # noqa: PLC0415 Textual takes time to import
        from kmemtrace.tui.replay import ReplayApp  # noqa: PLC0415

        begin = reel.first() if options.at is None else reel.at_time(options.at)
        with suppress(KeyboardInterrupt):
            ReplayApp(Player(reel, begin), view).run_to_end()
    elif options.once:
        found = reel.last() if options.at is None else reel.at_time(options.at)
        write(text_of(found.snapshot, None, view, options, dated=True))
    else:
        with suppress(KeyboardInterrupt):
            for one in reel.frames(None if options.at is None else reel.at_time(options.at)):
                if not write(text_of(one.snapshot, one.previous, view, options, dated=True)):
                    break
    return ExitStatus.OK


class Tape:
    """Plays a recording by the clock, as it went: what is asked for is the newest moment by then.

    At the end that is the last one, unless there is more by then.
    """

    def __init__(self, reel: "Replay") -> None:
        self._reel, self._frame = reel, reel.first()
        self._shown = time.monotonic()

    def snapshot(self) -> Snapshot:
        """Returns the Snapshot of the moment."""
        moments = int((time.monotonic() - self._shown) / self._frame.interval)
        if moments:
            self._shown += moments * self._frame.interval
            self._frame = self._reel.moved(self._frame.position, moments)
        return self._frame.snapshot

    def hooks(self) -> Iterator[tuple[str, str, str]]:
        """Yields the event, the hook and the mechanism of each that the recording was made by."""
        for event, hook in self._reel.meta.get("plan", {}).get("events", {}).items():
            for mechanism in hook.get("mechanisms", ()):
                yield event, hook["hook"], mechanism
