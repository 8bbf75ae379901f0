"""How a scrape and a frame grow with the cgroups: `make bench-growth`, or bench/growth.py [--cgroups N ...].

Makes so many memory cgroups, each charged a page, and before each round has others of them be charged and
uncharged. A round is a scrape of ours, without gzip, or a frame of `top` on a screen of 140 by 40; with it as
many memory.stat files are read, and six figures of each told through the same encoder, as bench/scrape.py
does. What is printed are medians: CPU time of ours, and its ratio to reading those files in the same round.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from textual.pilot import Pilot

from bench.scrape import cgroup_folder, charged, cost, read_files, tell
from kmemtrace.commands.censuses import add_census_argument, open_both
from kmemtrace.commands.session import add_tracer_arguments
from kmemtrace.errors import KmemtraceError
from kmemtrace.exporter.series import MOST_CGROUPS
from kmemtrace.exporter.source import FRESH_SECONDS, Source
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.tracer import capacity
from kmemtrace.tui.app import TopApp

_ROOM = 1 << 16
"""Cgroups that the maps have room for: a machine of 128 GB has as much."""
_SCREEN = (140, 40)
_LABEL_BYTES = 1 << 30
_NEVER = 1e6


@dataclass(frozen=True, slots=True)
class Round:
    """CPU seconds of one round."""

    ours: float
    reading: float
    """Of these, the seconds until there is a Snapshot."""
    files: float
    told: float
    """As `files`, with what it takes to tell six figures of each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cgroups", type=int, nargs="+", default=[1000, 10_000, 50_000], help="how many")
    parser.add_argument("--changing", type=float, default=1.0, help="percent of them (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    print(f"{'cgroups':>8}  {'':16} {'CPU ms':>7} {'reading':>8} {'to files':>9} {'and told':>9}")
    try:
        with ExitStack() as stack:
            root = stack.enter_context(cgroup_folder("kmemtrace-bench-growth"))
            folders: list[Path] = []
            charge = stack.enter_context(_charging())
            for cgroups in options.cgroups:
                more = [root / f"job-{number}" for number in range(len(folders), cgroups)]
                stack.enter_context(charged(more))
                folders += more
                _measure(folders, charge, options.rounds, options.changing)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


def _measure(folders: list[Path], charge: Callable[[list[Path]], None], rounds: int, changing: float) -> None:
    some = max(1, round(len(folders) * changing / 100))
    turn = 0

    def change() -> None:
        nonlocal turn
        begin = turn * some % len(folders)
        charge(folders[begin : begin + some])
        turn += 1

    with _snapshots() as read:
        for name, most in (("scrape", MOST_CGROUPS), ("scrape, all told", len(folders))):
            source = Source(read, (), lambda: None, most, _LABEL_BYTES)
            source.page("", zipped=False)
            _print(len(folders), name, [_scraped(source, change, folders, most) for _ in range(rounds)])
        _print(len(folders), "frame", asyncio.run(_frames(read, change, folders, rounds)))


def _scraped(source: Source, change: Callable[[], None], folders: list[Path], most: int) -> Round:
    change()
    time.sleep(FRESH_SECONDS)
    reading, _ = cost(source.told)
    page, _ = cost(lambda: source.page("", zipped=False))
    return _round(reading[1], page[1], folders, most)


async def _frames(
    read: Callable[[], Snapshot], change: Callable[[], None], folders: list[Path], rounds: int
) -> list[Round]:
    app = TopApp(read, _NEVER, View())
    found = []
    async with app.run_test(size=_SCREEN) as pilot:
        while app.shown is None:
            await pilot.pause(0.1)
        for _ in range(rounds):
            change()
            reading, snapshot = cost(read)
            begin = time.process_time()
            await _shown(app, pilot, snapshot)
            found.append(_round(reading[1], time.process_time() - begin, folders, 0))
    return found


async def _shown(app: TopApp, pilot: Pilot[None], snapshot: Snapshot) -> None:
    app.post_message(TopApp.Fresh(snapshot))
    await pilot.pause()


def _round(reading: float, more: float, folders: list[Path], most: int) -> Round:
    files, figures = cost(lambda: read_files(folders))
    told, _ = cost(lambda: tell(figures, most or len(folders)))
    return Round(reading + more, reading, files[1], files[1] + told[1])


def _print(cgroups: int, name: str, rounds: list[Round]) -> None:
    ours = statistics.median(one.ours for one in rounds) * 1e3
    reading = statistics.median(one.reading for one in rounds) * 1e3
    files = statistics.median(one.ours / one.files for one in rounds)
    told = statistics.median(one.ours / one.told for one in rounds)
    cells = f"{ours:>7.0f} {reading:>8.0f} {files:>9.2f} {told:>9.2f}"
    print(f"{cgroups:>8,}  {name:16} {cells}", flush=True)


@contextmanager
def _snapshots() -> Iterator[Callable[[], Snapshot]]:
    """Yields what makes Snapshots with a census, of a tracer that has room for all cgroups."""
    parser = argparse.ArgumentParser()
    add_tracer_arguments(parser)
    add_census_argument(parser)
    options = parser.parse_args(["--census", "60m"])
    with patch.object(capacity, "_LEAST_CGROUPS", _ROOM), open_both(options) as (keeper, tracer), keeper:

        def read() -> Snapshot:
            return keeper.joined(tracer.snapshot())

        while read().census is None:
            time.sleep(0.1)
        yield read


@contextmanager
def _charging() -> Iterator[Callable[[list[Path]], None]]:
    """Yields what has a process go into cgroups, and be charged a page of a pipe in each, and uncharged."""
    asked, ask = os.pipe()
    done, tell_done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ask)
        with os.fdopen(asked) as folders:
            for line in folders:
                folder = line.strip()
                if not folder:
                    os.write(tell_done, b"x")
                    continue
                Path(folder, "cgroup.procs").write_text("0", encoding="ascii")
                read, write = os.pipe()
                os.write(write, b"x")
                os.close(read)
                os.close(write)
        os._exit(0)
    os.close(asked)

    def charge(folders: list[Path]) -> None:
        # To the parent at last, which stays when the others are removed.
        os.write(ask, "".join(f"{folder}\n" for folder in [*folders, folders[0].parent.parent, ""]).encode())
        os.read(done, 1)

    try:
        yield charge
    finally:
        os.close(ask)
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main())
