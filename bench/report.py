"""What a report of a day costs: `make bench-report`, or python bench/report.py [--folder FOLDER].

Makes a recording of a day of busy cgroups, each of which changes at every Snapshot, with three call sites
and two histograms each: by the recorder's own writer, a file a minute. Then runs each form of `kmemtrace
report` in a process of its own, N times, and prints the medians of seconds and the highest resident memory,
beside reading every file of the recording, and reading it by `kmemtrace.load()`.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kmemtrace.model.enums import CgroupState, SiteKind, Tier
from kmemtrace.model.histogram import BUCKETS, Histogram
from kmemtrace.model.losses import Losses
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Site, Snapshot
from kmemtrace.recording.writer import Writer
from kmemtrace.text import size

_BEGAN = 1_780_000_000.0
_DAY = 86_400
_MEASURED = ("charge", "lifetime")
_STACKS = 40
_SITES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cgroups", type=int, default=1000, help="default: %(default)s")
    parser.add_argument(
        "--interval", type=float, default=60.0, help="seconds between Snapshots (%(default)s)"
    )
    parser.add_argument("--hours", type=float, default=24.0, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where the recording is made, or is from before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as temporary:
        folder = options.folder or Path(temporary) / "day"
        if not folder.exists():
            _record(folder, options.cgroups, options.interval, options.hours)
        _measure(folder, Path(temporary), options.rounds)
    return 0


def _record(folder: Path, cgroups: int, interval: float, hours: float) -> None:
    a_minute = max(1, round(60 / interval))
    with Writer(folder, interval) as writer:
        writer.begin({"kernel": "6.18.0", "tier": "fentry"})
        for number, snapshot in enumerate(_day(cgroups, interval, hours)):
            writer.add(snapshot)
            if number % a_minute == a_minute - 1:
                writer.finish()
        writer.finish()


def _day(cgroups: int, interval: float, hours: float) -> Iterator[Snapshot]:
    stacks = [_stack(number) for number in range(_STACKS)]
    for number in range(round(hours * 3600 / interval)):
        found = tuple(_cgroup(which, number, stacks) for which in range(cgroups))
        yield Snapshot(
            time=_BEGAN + number * interval,
            host="node-7",
            kernel="6.18.0",
            tier=Tier.FENTRY,
            watched_seconds=number * interval,
            page_size=4096,
            cgroups=found,
            losses=Losses({"page_free": number // 100}, {"pages": 0}, 0, 0, 0, 0, 0),
            maps={},
        )


def _stack(number: int) -> tuple[str, ...]:
    frames = (f"function_{number % 7}_{depth}+0x{depth + number:x}" for depth in range(18))
    return ("__alloc_frozen_pages_noprof+0x2e9", *frames, "do_syscall_64+0x82")


def _cgroup(which: int, number: int, stacks: list[tuple[str, ...]]) -> Cgroup:
    """Its numbers grow by other steps each time, as those of a busy one do."""
    sites = tuple(_site(which, place, number, stacks) for place in range(_SITES))
    counts = [0] * BUCKETS
    for bucket in range(4, 9):
        counts[bucket] = number * (which % 50 + 1) * (bucket + 1)
    return Cgroup(
        key=CgroupKey(0, which + 1),
        path=f"/kubepods.slice/kubepods-burstable.slice/pod{which:05d}/container",
        label=None,
        state=CgroupState.ONLINE,
        charged_pages=sum(one.charged_pages for one in sites),
        uncharged_pages=sum(one.uncharged_pages for one in sites),
        failed_charges=0,
        oldest_at=1.0,
        sites=sites,
        latency={measured: Histogram(tuple(counts), sum(counts) * 1000) for measured in _MEASURED},
    )


def _site(which: int, place: int, number: int, stacks: list[tuple[str, ...]]) -> Site:
    uncharged = number * (which % 97 + 3) + (number * number * (which + place)) % 211
    held = (which * 31 + number * (which % 7)) % 3000
    kind = (SiteKind.PIPE, SiteKind.UNIX_SOCKET, SiteKind.PAGE_TABLE)[place]
    return Site(
        kind, f"asked_{place}", stacks[(which * _SITES + place) % _STACKS], uncharged + held, uncharged
    )


def _measure(folder: Path, temporary: Path, rounds: int) -> None:
    files = sum(1 for one in folder.rglob("*.parquet"))
    whole = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    page = temporary / "page.html"
    report = "from kmemtrace.__main__ import start; start()"
    commands = {
        "reading its files": (
            "import pathlib; [p.read_bytes() for p in pathlib.Path(sys.argv[1]).rglob('*.parquet')]",
            str(folder),
        ),
        "report": (report, "report", str(folder)),
        "report --csv": (report, "report", str(folder), "--csv"),
        "report --pprof": (report, "report", str(folder), "--pprof"),
        "report --html": (report, "report", str(folder), "--html", str(page)),
        "kmemtrace.load()": ("import kmemtrace; kmemtrace.load(sys.argv[1])", str(folder)),
    }
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(_cost(command))
    print(f"the recording: {size(whole)} in {files:,} tables; the page: {size(page.stat().st_size)}")
    for name, costs in found.items():
        seconds = statistics.median(cost for cost, _ in costs)
        most = max(resident for _, resident in costs)
        print(f"{name:20} {seconds:7.1f} s  {size(most):>6}")


def _cost(command: tuple[str, ...]) -> tuple[float, int]:
    """Seconds of a piece of Python with its arguments, and the highest resident memory in bytes.

    It tells that itself: getrusage() has the highest of the process that started it in it.
    """
    code, *arguments = command
    begin = time.perf_counter()
    told = f"import sys; {code}\nprint(open('/proc/self/status').read(), file=sys.stderr)"
    done = subprocess.run(
        (sys.executable, "-c", told, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - begin
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    if found is None:
        raise SystemExit(done.stderr)
    return seconds, int(found[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
