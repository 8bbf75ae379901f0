"""What a scrape of many cgroups costs: `make bench-scrape`, or python bench/scrape.py [--cgroups N].

Makes so many memory cgroups, each charged a few pages, and lets some come and go between scrapes. In each
round one scrape of ours, in the text format and without gzip, is followed by what a reader of cgroup files
does, as cAdvisor for the same question: the memory.stat of each cgroup read and parsed, and then six figures
of as many cgroups told, through the same encoder. Both are Python.
"""

import argparse
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import KmemtraceError
from kmemtrace.exporter.encoding import Fixed
from kmemtrace.exporter.source import FRESH_SECONDS, Source
from kmemtrace.text import size

Answer = TypeVar("Answer")
_FIGURES = 6
"""That we tell of each cgroup."""
_OF_A_PROCESS = 500
"""Cgroups that one process charges: each takes two of its file descriptors."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cgroups", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--churn", type=int, default=100, help="made anew before each scrape (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            root = stack.enter_context(cgroup_folder("kmemtrace-bench-scrape"))
            tracer = stack.enter_context(make_tracer())
            folders = [root / f"job-{number}" for number in range(options.cgroups)]
            stack.enter_context(charged(folders))
            for most in (1000, options.cgroups):
                source = Source(tracer.snapshot, (), lambda: None, most)
                _rounds(source, root, folders, options.churn, options.rounds, most)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


def _rounds(source: Source, root: Path, folders: list[Path], churn: int, rounds: int, most: int) -> None:
    ours, files, peer, reading = [], [], [], []
    body = source.page("", zipped=False).body
    for turn in range(rounds):
        with charged([root / f"short-{turn}-{number}" for number in range(churn)]):
            pass
        before = source.told().reading_seconds
        time.sleep(FRESH_SECONDS)
        spent, body = cost(lambda: source.page("", zipped=False).body)
        ours.append(spent)
        reading.append(source.told().reading_seconds - before)
        spent, figures = cost(lambda: read_files(folders))
        files.append(spent)
        more, _ = cost(partial(tell, figures, most))
        peer.append((spent[0] + more[0], spent[1] + more[1]))
    told = source.told().snapshot
    series = sum(1 for line in body.splitlines() if not line.startswith(b"#"))
    shown = sum(1 for line in body.splitlines() if line.startswith(b"kmemtrace_charged_pages_total"))
    print(
        f"\n{len(folders):,} cgroups, {churn} more come and gone before each scrape, --max-cgroups {most:,}"
    )
    print(f"  cgroups read              {len(told.cgroups):,}")
    print(f"  of these with series      {shown:,}, {series:,} series in all, {size(len(body))}")
    for name, at in (("time", 0), ("CPU", 1)):
        mine, read, with_telling = (statistics.median(c[at] for c in costs) for costs in (ours, files, peer))
        print(
            f"  {name:<4} of a scrape          {mine * 1e3:.0f} ms; as many memory.stat files read "
            f"{read * 1e3:.0f} ms: {mine / read:.2f} of it; read and told {with_telling * 1e3:.0f} ms: "
            f"{mine / with_telling:.2f}"
        )
    print(f"  of it reading the maps    {statistics.median(reading) * 1e3:.0f} ms")
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"  resident memory           {size(rss)} at most; the maps {size(told.own_bytes or 0)}")


def cost(work: Callable[[], Answer]) -> tuple[tuple[float, float], Answer]:
    """((seconds, CPU seconds), what it answered)"""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return (time.perf_counter() - wall, time.process_time() - cpu), answer


def read_files(folders: list[Path]) -> dict[Path, dict[str, int]]:
    figures = {}
    for folder in folders:
        with open(f"{folder}/memory.stat", encoding="ascii") as file:  # noqa: PTH123 as fast as Python can
            figures[folder] = {name: int(value) for name, value in map(str.split, file)}
    return figures


def tell(figures: dict[Path, dict[str, int]], most: int) -> bytes:
    chosen = sorted(figures.items(), key=lambda one: -sum(one[1].values()))[:most]
    told = []
    for name in list(chosen[0][1])[:_FIGURES]:
        family = GaugeMetricFamily(f"container_{name}", name, labels=("cgroup",))
        for folder, values in chosen:
            family.add_metric((str(folder),), values[name])
        told.append(family)
    registry = CollectorRegistry()
    registry.register(Fixed(told))
    return generate_latest(registry)


@contextmanager
def cgroup_folder(name: str) -> Iterator[Path]:
    """A memory cgroup of that name, for others below it."""
    hierarchy = memory_hierarchy()
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")
    folder = hierarchy.mount / name
    folder.mkdir()
    if hierarchy.version == 2:
        (folder / "cgroup.subtree_control").write_text("+memory")
    try:
        yield folder
    finally:
        folder.rmdir()


@contextmanager
def charged(folders: list[Path]) -> Iterator[None]:
    """Makes these cgroups; processes have a page of a pipe charged to each."""
    with ExitStack() as stack:
        for begin in range(0, len(folders), _OF_A_PROCESS):
            stack.enter_context(_charged(folders[begin : begin + _OF_A_PROCESS]))
        yield


@contextmanager
def _charged(folders: list[Path]) -> Iterator[None]:
    """A process that has a page of a pipe charged to each."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        kept = []
        for folder in folders:
            folder.mkdir()
            (folder / "cgroup.procs").write_text("0")
            kept.append(os.pipe())
            os.write(kept[-1][1], b"x")
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for folder in folders:
            folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
