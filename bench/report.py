"""What a report of a day costs: `make bench-report`, or python bench/report.py [--folder FOLDER].

Makes a recording of a day of busy cgroups (bench/day.py), a Snapshot a second, old minutes merged as `record`
does. Then runs each form of `kmemtrace report` in a process of its own, N times, and prints the medians of
seconds and the highest resident memory, beside reading every file of the recording, reading it by
`kmemtrace.load()`, and `diff` of it with itself.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.day import record_day
from kmemtrace.text import size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cgroups", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between Snapshots (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where the recording is made, or is from before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as temporary:
        folder = options.folder or Path(temporary) / "day"
        if not folder.exists():
            record_day(folder, options.cgroups, options.interval)
        _measure(folder, Path(temporary), options.rounds)
    return 0


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
        "diff": (report, "diff", str(folder), str(folder)),
        "kmemtrace.load()": ("import kmemtrace; kmemtrace.load(sys.argv[1])", str(folder)),
    }
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(_cost(command))
    print(f"the recording: {size(whole)} in {files:,} tables; the page: {size(page.stat().st_size)}")
    for name, costs in found.items():
        wall, cpu = (statistics.median(cost[at] for cost in costs) for at in (0, 1))
        print(f"{name:20} {wall:7.1f} s  {cpu:7.1f} s of CPU  {size(max(cost[2] for cost in costs)):>6}")


def _cost(command: tuple[str, ...]) -> tuple[float, float, int]:
    """Seconds of a piece of Python with its arguments, its CPU time, its highest resident memory in bytes.

    It tells that itself: getrusage() has the highest of the process that started it in it.
    """
    code, *arguments = command
    begin = time.perf_counter()
    tell = "print(open('/proc/self/status').read(), 'CPU:', time.process_time(), file=sys.stderr)"
    done = subprocess.run(
        (
            sys.executable,
            "-c",
            f"import atexit, sys, time; atexit.register(lambda: {tell}); {code}",
            *arguments,
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - begin
    found = re.search(r"VmHWM:\s+(\d+) kB.*CPU: ([\d.]+)", done.stderr, re.DOTALL)
    if found is None:
        raise SystemExit(done.stderr)
    return seconds, float(found[2]), int(found[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
