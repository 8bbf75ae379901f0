"""What `record` costs: `make bench-recording`, or python bench/recording.py [--cgroups N ...] [--seconds S].

A worker goes round so many memory cgroups, joins each, and fills and drains a pipe there. It does that with
no tracer, with `top`, with `record`, and with perf kmem and bcc's memleak, each in turn in every round. Told
are how many cgroups the worker came to, as a ratio to no tracer in the same round, and of each tracer CPU
time and bytes written, for a minute.

--day measures something else, how large a recording of a day gets: hours of made-up cgroups, each of which
changes at every Snapshot, are recorded as fast as can be, as `record` does by default.
"""

import argparse
import dataclasses
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.day import AS_RECORD_DOES, BusyMachine, record
from bench.tracers import memleak, memleak_path
from bench.traffic import Pipe
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.arguments import duration
from kmemtrace.errors import CannotError, KmemtraceError
from kmemtrace.recording.folder import minutes
from kmemtrace.recording.reader import headers
from kmemtrace.text import size

_COMMAND = [sys.executable, "-m", "kmemtrace"]
_TICK = os.sysconf("SC_CLK_TCK")
_PAGES = 256
"""That the worker has charged to a cgroup each time."""
_MEMLEAK_SECONDS = 5
_START_SECONDS = 120


@dataclass
class Running:
    """A tracer that is attached."""

    process: subprocess.Popen[Any] | None = None
    bytes: int = 0
    """What it wrote until it had ended."""

    def cpu_seconds(self) -> float:
        """Of it, and of what it has waited for."""
        if self.process is None:
            return 0.0
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, told[11:15])) / _TICK


Tracer = Callable[[], AbstractContextManager[Running]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cgroups", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--interval", default="1s", help="of top and record (default: %(default)s)")
    parser.add_argument("--day", action="store_true", help="measure how large a day gets")
    parser.add_argument(
        "--hours", type=float, default=2.0, help="of --day, two at least (default: %(default)s)"
    )
    parser.add_argument("--merge-step", type=duration, default=AS_RECORD_DOES.step, help="of --day")
    options = parser.parse_args()
    if options.day:
        for count in options.cgroups:
            _tell_day(count, options)
        return 0
    try:
        for count in options.cgroups:
            with _cgroups(count) as folders:
                _measure(folders, options)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


def _tell_day(count: int, options: argparse.Namespace) -> None:
    """Tells how large a day gets: hours as the last whole one that was merged, and what is not merged."""
    detail = dataclasses.replace(AS_RECORD_DOES, step=options.merge_step)
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as name:
        folder = Path(name) / "day"
        begin = time.process_time()
        record(folder, BusyMachine(count, duration(options.interval)), 3600 * options.hours, detail)
        cpu = time.process_time() - begin
        found = [(one.is_merged, one.last - one.number + 1, one.bytes()) for one in minutes(folder)]
        meta = [file.meta for file in headers(folder)]
    hours = [bytes_ for (merged, _, bytes_), of in zip(found, meta, strict=True) if merged and _is_hour(of)]
    if not hours:
        raise SystemExit("bench: no hour was merged; give more --hours")
    whole = [one for one in found if not one[0]]
    rest = sum(bytes_ for *_, bytes_ in whole)
    hour = hours[-1]
    each = f"every {options.interval}, merged to one each {detail.step:g} s"
    print(f"\n{count:,} cgroups that all change, {each}")
    print(f"  a minute {size(rest // len(whole))}, a merged hour {size(hour)}")
    print(f"  a day {size(24 * hour)}, and {size(rest)} for the {len(whole)} minutes that are not merged")
    print(f"  CPU for making up, recording and merging an hour: {cpu / options.hours:.0f} s")


def _is_hour(meta: dict[str, Any]) -> bool:
    clock = meta["clock"]
    return bool(clock["end_boot_seconds"] - clock["begin_boot_seconds"] > 3500)


def _measure(folders: list[Path], options: argparse.Namespace) -> None:
    done: dict[str, list[int]] = defaultdict(list)
    cost: dict[str, list[tuple[float, int]]] = defaultdict(list)
    tracers = _tracers(options.interval)
    for _ in range(options.rounds):
        for name, tracer in tracers.items():
            with tracer() as running:
                before = running.cpu_seconds()
                done[name].append(_work(folders, options.seconds))
                cpu = running.cpu_seconds() - before
            cost[name].append((cpu, running.bytes))
    rounds = f"{options.rounds} rounds of {options.seconds:g} s, every {options.interval}"
    print(f"\n{len(folders):,} cgroups, one worker, {rounds}")
    print(f"  {'':12} {'work, to no tracer':>26} {'CPU a minute':>14} {'written a minute':>17}")
    for name in tracers:
        ratios = [n / base for n, base in zip(done[name], done["no tracer"], strict=True)]
        work = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        per = 60 / options.seconds
        cpu, written = (per * statistics.median(one[at] for one in cost[name]) for at in (0, 1))
        told = "" if name == "no tracer" else f"{cpu:>12.1f} s {size(round(written)):>17}"
        print(f"  {name:12} {work:>26} {told}")


def _tracers(interval: str) -> dict[str, Tracer]:
    found: dict[str, Tracer] = {
        "no tracer": _nothing,
        "top --json": lambda: _told_by([*_COMMAND, "top", "--json", "--interval", interval]),
        "record": lambda: _recording(interval),
    }
    if shutil.which("perf"):
        found["perf kmem"] = _perf
    else:
        print("bench: perf is not installed, and left out (linux-perf)", file=sys.stderr)
    path = memleak_path()
    if path is not None:
        found["memleak"] = lambda: _memleak(path)
    else:
        print("bench: memleak is not installed, and left out (bpfcc-tools)", file=sys.stderr)
    return found


@contextmanager
def _nothing() -> Iterator[Running]:
    yield Running()


@contextmanager
def _ending(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(until: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not until():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotError(f"{process.args!r} did not start; run it by itself to see why.")
        time.sleep(0.1)


@contextmanager
def _told_by(command: list[str]) -> Iterator[Running]:
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        running = Running(process)
        with _ending(process):
            _wait(lambda: os.fstat(file.fileno()).st_size > 0, process)
            yield running
        running.bytes = os.fstat(file.fileno()).st_size


@contextmanager
def _recording(interval: str) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as folder:
        command = [*_COMMAND, "record", "-o", folder, "--interval", interval]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        running = Running(process)
        with _ending(process):
            _wait((Path(folder) / "meta.json").exists, process)
            yield running
        running.bytes = sum(one.stat().st_size for one in Path(folder).rglob("*") if one.is_file())


@contextmanager
def _perf() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as folder:
        file = Path(folder) / "perf.data"
        command = ["perf", "kmem", "--page", "record", "-o", str(file)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running = Running(process)
        with _ending(process):
            _wait(lambda: file.exists() and file.stat().st_size > 0, process)
            time.sleep(1.0)
            yield running
        running.bytes = file.stat().st_size


@contextmanager
def _memleak(path: str) -> Iterator[Running]:
    with memleak(path, _MEMLEAK_SECONDS) as process:
        running = Running(process)
        read = threading.Thread(target=_count, args=(process, running))
        read.start()
        yield running
    read.join()


def _count(process: subprocess.Popen[str], running: Running) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        running.bytes += len(line)


@contextmanager
def _cgroups(count: int) -> Iterator[list[Path]]:
    root = memory_hierarchy().mount / f"kmemtrace-bench-{os.getpid()}"
    folders = [root / f"job-{number}" for number in range(count)]
    try:
        for one in (root, *folders):
            one.mkdir()
        yield folders
    finally:
        for one in (*folders, root):
            if one.exists():
                one.rmdir()


def _work(folders: list[Path], seconds: float) -> int:
    """How many cgroups a worker came to in that time."""
    reading, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            traffic, rounds, end = Pipe(), 0, time.monotonic() + seconds
            while time.monotonic() < end:
                (folders[rounds % len(folders)] / "cgroup.procs").write_text("0")
                traffic(_PAGES)
                rounds += 1
            os.write(telling, str(rounds).encode())
        finally:
            os._exit(0)
    os.close(telling)
    try:
        told = os.read(reading, 64)
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    return int(told)


if __name__ == "__main__":
    sys.exit(main())
