"""kmemtrace top: whose kernel memory grows, live."""

import argparse
import contextlib
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kmemtrace.commands.arguments import DURATION, GRAMMAR, duration
from kmemtrace.commands.censuses import add_census_argument, open_both
from kmemtrace.commands.frames import get_ready, text_of
from kmemtrace.commands.progress import progress
from kmemtrace.commands.replay import add_replay_arguments, refuse_watching, replay
from kmemtrace.commands.session import (
    add_object_arguments,
    add_tracer_arguments,
    check_object_arguments,
    refuse_tracing_arguments,
)
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.commands.watch import Watch, tell_interruption
from kmemtrace.console import write
from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import GroupBy, SortKey, View

_DEFAULT_INTERVAL = 2.0
_WHOLE_SECONDS = 2.0
"""Seconds from the start on for which a frame waits for the pages that were charged before."""
_SCRAPE = 15.0
"""Seconds between scrapes of most Prometheus servers: rates between frames are no finer."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "top",
        help=SUMMARIES["top"],
        description="Shows, by cgroup, what its kernel memory is made of, how much was charged, uncharged "
        "and held since the start, and which code asked for it. In a terminal it is interactive: press ? "
        "there.",
        epilog=f"{GRAMMAR}\n\nexample:\n  sudo kmemtrace top --once --duration 5s --json | jq '.cgroups[0]'",
    )
    _add_frame_arguments(parser)
    _add_view_arguments(parser)
    parser.add_argument(
        "--prometheus",
        metavar="URL",
        help="the cgroups of all hosts that this server scrapes, or any that answers as Prometheus does",
    )
    add_replay_arguments(parser)
    add_tracer_arguments(parser)
    add_object_arguments(parser)
    add_census_argument(parser)
    parser.set_defaults(run=run)


def _add_frame_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one frame and end")
    parser.add_argument("--batch", action="store_true", help="plain frames, as without a terminal")
    parser.add_argument("--json", action="store_true", help="one JSON object per frame and line")
    parser.add_argument(
        "--duration",
        type=duration,
        metavar=DURATION,
        help="with --once: how long to watch before the frame; else: when to end",
    )
    parser.add_argument(
        "--interval",
        type=duration,
        metavar=DURATION,
        help=f"time between frames (default: {_DEFAULT_INTERVAL:g}s, of a Prometheus server {_SCRAPE:g}s)",
    )


def _add_view_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        choices=[k.value for k in SortKey],
        metavar="COLUMN",
        help="what to sort by: %(choices)s (default: held; of slab caches: slab)",
    )
    parser.add_argument("--reverse", action="store_true", help="smallest first")
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="only rows whose name or call site has TEXT"
    )
    parser.add_argument(
        "--by",
        choices=[g.value for g in GroupBy],
        default=GroupBy.CGROUP.value,
        metavar="WHAT",
        help="what a row is: %(choices)s (default: %(default)s)",
    )
    parser.add_argument("--dead", action="store_true", help="only removed cgroups that hold pages")


def run(options: argparse.Namespace) -> ExitStatus:
    by_default = SortKey.SLAB if options.by == GroupBy.CACHE else SortKey.HELD
    view = View(
        sort=SortKey(options.sort or by_default),
        reverse=options.reverse,
        filter=options.filter,
        by=GroupBy(options.by),
        dead_only=options.dead,
    )
    if options.json and view.by is not GroupBy.CGROUP:
        raise UsageError("--by shapes tables: JSON always lists cgroups, each with its call sites.")
    plain = options.batch or options.once or options.json
    on_terminal = not plain and all(f.isatty() for f in (sys.stdin, sys.stdout, sys.stderr))
    if options.replay is not None:
        refuse_watching(options)
        return replay(options, view, on_terminal=on_terminal)
    check_object_arguments(options)
    if options.at is not None:
        raise UsageError("--at is for --replay, which was not given.")
    if options.interval is None:
        options.interval = _DEFAULT_INTERVAL if options.prometheus is None else _SCRAPE
    if on_terminal:
        return _interactive(options, view)
    return _once(options, view) if options.once else _frames(options, view)


def _once(options: argparse.Namespace, view: View) -> ExitStatus:
    """Shows one frame, after the time that was asked for.

    On an interruption it is shown at once, and is then not what was asked.
    """
    seconds = options.duration or options.interval
    with (
        _source(options) as source,
        Watch() as watch,
        progress("watching; Ctrl-C shows what is known by then", seconds),
    ):
        get_ready(options)
        previous = _before(source.snapshot, options)
        watch.wait_until(seconds)
        snapshot = source.snapshot()
    tell_interruption(watch.interrupted_after, seconds)
    write(text_of(snapshot, previous, view, options))
    return ExitStatus.OK if watch.interrupted_after is None else ExitStatus.INCONCLUSIVE


def _frames(options: argparse.Namespace, view: View) -> ExitStatus:
    """Shows a frame each interval, until the time is up, or a signal comes, or nobody reads on."""
    with contextlib.suppress(KeyboardInterrupt), _source(options, patient=False) as source:
        # Not entered: a signal unwinds, also while a reader that does not read is waited for.
        watch = Watch()
        get_ready(options)
        previous = _before(source.snapshot, options)
        for _ in watch.ticks(options.interval, options.duration):
            snapshot = source.snapshot()
            if not write(text_of(snapshot, previous, view, options)):
                break
            previous = snapshot
    return ExitStatus.OK


def _before(source: Callable[[], Snapshot], options: argparse.Namespace) -> Snapshot | None:
    """Returns what the first frame's rates are measured from.

    A server's counters had reached something before; a tracer's begin with it.
    """
    return None if options.prometheus is None else source()


def _interactive(options: argparse.Namespace, view: View) -> ExitStatus:
    # Textual takes as long to import as the programs to compile: both at a time.
    importing = threading.Thread(target=importlib.import_module, args=("kmemtrace.tui.app",))
    importing.start()
    with contextlib.suppress(KeyboardInterrupt), _source(options) as source:
        importing.join()
        from kmemtrace.tui.app import TopApp  # noqa: PLC0415 see above

        TopApp(source.snapshot, options.interval, view, options.duration, source.take_census).run_to_end()
    return ExitStatus.OK


class _Source(NamedTuple):
    """Makes the Snapshots, and has censuses taken."""

    snapshot: Callable[[], Snapshot]
    take_census: Callable[[], None] = lambda: None


@contextlib.contextmanager
def _source(options: argparse.Namespace, *, patient: bool = True) -> Iterator[_Source]:
    """Opens a tracer here, or a Prometheus server.

    With `patient` the first Snapshots wait for a census, which frames that come at their times cannot.
    """
    if options.prometheus is None:
        with open_both(options) as (keeper, tracer), keeper:
            whole = time.monotonic() + _WHOLE_SECONDS

            def counted() -> Snapshot:
                if patient:
                    tracer.wait_until_judging(max(0.0, whole - time.monotonic()))
                snapshot = tracer.snapshot()
                if patient:  # now, so that it was counted for no longer than was asked
                    keeper.wait_for_first()
                return keeper.joined(snapshot)

            yield _Source(counted, keeper.take_now)
        return
    refuse_tracing_arguments(options, "--prometheus asks a server")
    if options.by not in (GroupBy.CGROUP, GroupBy.CONTAINER):
        raise UsageError(
            "A Prometheus server has neither call sites nor slab caches by cgroup: leave --by out."
        )
    from kmemtrace.fleet.prometheus import Prometheus  # noqa: PLC0415 who traces here needs no client
    from kmemtrace.fleet.snapshots import Fleet  # noqa: PLC0415

    yield _Source(Fleet(Prometheus(options.prometheus)).snapshot)
