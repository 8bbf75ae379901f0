"""How long commands take to start, and what stays resident: `make bench-startup`, or python bench/startup.py.

Each round runs every command in turn, so that a slow or busy machine slows all alike; what is printed are
medians of a round's ratios to `python3 -c pass` and to `python3 -c "import numpy"`. A first frame is timed to
its first byte.
"""

import argparse
import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.scrape import cgroup_folder, charged
from kmemtrace.text import size

_KMEMTRACE = (sys.executable, "-m", "kmemtrace")
_FRAMES = (*_KMEMTRACE, "top", "--batch", "--interval", "50ms")
_PASS, _NUMPY = "python3 -c pass", "python3 -c 'import numpy'"
_PORT = 19796
_SCRAPES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--cgroups", type=int, default=1000, help="of the exporter's (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as folder:
        os.environ["KMEMTRACE_CACHE"] = folder
        _print_times(_times(options.rounds))
        _print_resident(options.cgroups)
    return 0


def _times(rounds: int) -> dict[str, list[float]]:
    """By command, the seconds of each round."""
    commands: dict[str, Callable[[], float]] = {
        _PASS: lambda: _to_end(sys.executable, "-c", "pass"),
        _NUMPY: lambda: _to_end(sys.executable, "-c", "import numpy"),
        "--help": lambda: _to_end(*_KMEMTRACE, "--help"),
        "check": lambda: _to_end(*_KMEMTRACE, "check"),
        "top, compiled": lambda: _to_frame(KMEMTRACE_CACHE="off"),
        "top, kept": _to_frame,
        "top --cgroup, kept": _to_frame_of_a_cgroup,
        "top --once 50ms, kept": lambda: _to_end(*_KMEMTRACE, "top", "--once", "--duration", "50ms"),
    }
    for run in commands.values():
        run()  # so that all files are read, and what is to be kept is
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, run in commands.items():
            found[name].append(run())
    return found


def _to_end(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _to_frame_of_a_cgroup() -> float:
    """Of one that was just made, so that nothing was compiled for it."""
    with cgroup_folder(f"kmemtrace-bench-startup-{time.monotonic_ns()}") as folder:
        return _to_frame("--cgroup", f"/{folder.name}")


def _to_frame(*options: str, **environment: str) -> float:
    begin = time.perf_counter()
    command, given = (*_FRAMES, *options), {**os.environ, **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=given) as running:
        assert running.stdout is not None
        select.select([running.stdout], [], [])
        seconds = time.perf_counter() - begin
        running.terminate()
        running.stdout.read()
    return seconds


def _print_times(times: dict[str, list[float]]) -> None:
    print(f"{'':24} {'to pass':>22} {'to import numpy':>22} {'ms':>7}")
    for name, seconds in times.items():
        cells = []
        for base in (_PASS, _NUMPY):
            ratios = [one / of for one, of in zip(seconds, times[base], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"{name:24} {cells[0]:>22} {cells[1]:>22} {statistics.median(seconds) * 1e3:>7.0f}")


def _print_resident(cgroups: int) -> None:
    print(f"\n{'':36} {'VmRSS':>8} {'VmHWM':>8}")
    with ExitStack() as stack:
        root = stack.enter_context(cgroup_folder("kmemtrace-bench-startup"))
        stack.enter_context(charged([root / f"job-{number}" for number in range(cgroups)]))
        for name, kept in (("compiled", {"KMEMTRACE_CACHE": "off"}), ("kept", {})):
            with _running(("export", "--web.listen-address", f"127.0.0.1:{_PORT}"), kept) as pid:
                for _ in range(_SCRAPES):
                    _scrape()
                _print_status(f"export, {cgroups:,} cgroups, {name}", pid)
            with _running(("top", "--batch", "--interval", "500ms"), kept) as pid:
                time.sleep(5)
                _print_status(f"top, {cgroups:,} cgroups, {name}", pid)


@contextmanager
def _running(arguments: tuple[str, ...], environment: dict[str, str]) -> Iterator[int]:
    with subprocess.Popen(
        (*_KMEMTRACE, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ) as running:
        try:
            yield running.pid
        finally:
            running.terminate()


def _scrape() -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/metrics", timeout=60) as answer:
                answer.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _print_status(name: str, pid: int) -> None:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    kilobytes = [re.search(rf"^{field}:\s*(\d+)", status, re.MULTILINE) for field in ("VmRSS", "VmHWM")]
    cells = [size(int(found[1]) << 10) if found else "?" for found in kilobytes]
    print(f"{name:36} {cells[0]:>8} {cells[1]:>8}")


if __name__ == "__main__":
    sys.exit(main())
