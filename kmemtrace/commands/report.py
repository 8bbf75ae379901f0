"""kmemtrace report: what a recording tells, in the terminal, as profiles and as a page."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kmemtrace import text
from kmemtrace.commands.progress import progress
from kmemtrace.commands.summaries import SUMMARIES
from kmemtrace.console import write, write_bytes
from kmemtrace.errors import ExitStatus, OutputError, UsageError
from kmemtrace.printable import printable
from kmemtrace.recording.needed import require

if TYPE_CHECKING:
    from kmemtrace.history.history import History

_MOST_ROWS = 10
_BINS = 60
"""Points of time that a summary is made of: from which one on a cgroup was removed is told by them."""
_BINS_OF_PAGE = 240
_VALUES = ("held", "charged", "uncharged")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "report",
        help=SUMMARIES["report"],
        usage="%(prog)s [-h] [--from TIME] [--to TIME] [output] FOLDER",
        description="Tells what `kmemtrace record` wrote into FOLDER, or is writing: what was missed, which "
        "cgroups, call sites and slab caches hold and are charged most, removed cgroups, mismatches with "
        "their evidence. Needs no root (docs/report.md).",
        epilog="A TIME is written as 2026-03-01T12:05:00, which is UTC, or as 12:05 alone, the first one "
        "from the begin of the recording on.\n\nexample:\n"
        "  kmemtrace report day --from 03:00 --to 04:00 --html night.html",
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="what record wrote; `sample` comes with kmemtrace"
    )
    parser.add_argument("--from", dest="since", metavar="TIME", help="when to begin (default: at its begin)")
    parser.add_argument("--to", dest="until", metavar="TIME", help="when to end (default: at its end)")
    titled = parser.add_argument_group("output", "One of these, in place of a summary.")
    output = titled.add_mutually_exclusive_group()
    output.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page to look at, which needs nothing but itself"
    )
    output.add_argument("--json", action="store_true", help="one JSON object, with all rows")
    output.add_argument("--csv", action="store_true", help="a line for each call site of a cgroup, in bytes")
    output.add_argument(
        "--folded", action="store_true", help="a stack per line with its pages, for flame graphs"
    )
    output.add_argument(
        "--speedscope", action="store_true", help="for speedscope: held, charged and uncharged, in bytes"
    )
    output.add_argument(
        "--pprof",
        action="store_true",
        help="the same for pprof, Pyroscope, Parca and Grafana, gzipped, with the cgroup as a label",
    )
    titled.add_argument(
        "--value",
        choices=_VALUES,
        default=_VALUES[0],
        help="of --folded: held at the end, or charged or uncharged meanwhile (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> ExitStatus:
    if options.pprof and sys.stdout.isatty():
        raise UsageError("--pprof writes what no terminal can show: redirect it, as with >profile.pb.gz.")
    require("pyarrow", *(["jinja2"] if options.html else []))
    if options.html:
        _write_page(options)
        return ExitStatus.OK
    with _shown_progress() as told:
        history = _read(options, _BINS, told)
    if options.pprof:
        write_bytes(_pprof(history))
    else:
        write(_text(options, history))
    return ExitStatus.OK


def _read(options: argparse.Namespace, bins: int, told: Callable[[str], None] = lambda _: None) -> "History":
    # Here, as in all that follows: it needs pyarrow, which may be missing and takes time to import.
    from kmemtrace.history.history import read  # noqa: PLC0415
    from kmemtrace.recording.folder import named  # noqa: PLC0415

    return read(named(options.folder), bins, options.since, options.until, told)


def _write_page(options: argparse.Namespace) -> None:
    from kmemtrace.history.page import page  # noqa: PLC0415
    from kmemtrace.recording.folder import write_whole  # noqa: PLC0415
    from kmemtrace.recording.reader import anew  # noqa: PLC0415

    with _shown_progress() as told:
        data = anew(lambda: page(_read(options, _BINS_OF_PAGE, told), told)).encode()
        try:
            write_whole(options.html, data)
        except OSError as error:
            raise OutputError(f"{options.html} cannot be written: {error.strerror}.") from None
    print(printable(f"kmemtrace: Wrote {options.html}, {text.size(len(data))}."), file=sys.stderr)


@contextlib.contextmanager
def _shown_progress() -> Iterator[Callable[[str], None]]:
    """Yields what is to be told, by who takes long, what is being done."""
    words = ["reading"]
    with progress(lambda: words[0]):
        yield lambda now: words.__setitem__(0, now)


def _text(options: argparse.Namespace, history: "History") -> str:
    from kmemtrace.history.profiles import as_csv, folded, speedscope  # noqa: PLC0415
    from kmemtrace.history.samples import Value, samples  # noqa: PLC0415
    from kmemtrace.history.summary import document  # noqa: PLC0415
    from kmemtrace.history.text import report  # noqa: PLC0415

    if options.csv:
        return as_csv(samples(history))
    if options.folded:
        return folded(samples(history), Value(options.value), history.timeline.page_size)
    if options.speedscope:
        return speedscope(samples(history), _title(history))
    summary = document(history)
    return json.dumps(summary) if options.json else report(history, summary, _MOST_ROWS)


def _pprof(history: "History") -> bytes:
    from kmemtrace.history.pprof import pprof  # noqa: PLC0415
    from kmemtrace.history.samples import samples  # noqa: PLC0415

    over = history.timeline
    return pprof(
        samples(history), begin=over.begin, end=over.end, page_size=over.page_size, comment=_title(history)
    )


def _title(history: "History") -> str:
    over = history.timeline
    return printable(f"kernel memory of {over.host}, {text.utc(over.begin)} to {text.utc(over.end)} UTC")
