"""What tracing costs: `make bench`, or python bench/overhead.py [--rounds N].

Prints ratios only: each round runs every tracer in turn, so that a slow or busy machine slows all
alike. Three tables:

1. Wall and CPU time per page of traffic, as a ratio to no tracer.
2. The same of two CPUs that charge from one call site, of forks, and of programs that are started.
3. Time of each way out of our programs, from the kernel's own statistics, beside that of an empty
   program on the same hook in the same round.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ratios import print_ratios
from bench.tracers import EmptyPrograms, memleak, memleak_path, run_statistics, warm
from bench.traffic import (
    Anonymous,
    Cost,
    Execs,
    Forks,
    Pipe,
    PipeOnEachCpu,
    Traffic,
    cost_per_unit,
    memory_cgroup,
)
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import KmemtraceError
from kmemtrace.tracer.program_info import ProgramInfo

_PAGES = {"un-accounted": 6 * 32768, "accounted": 192 * 256}
_WORK = {"two CPUs": 128 * 256, "fork": 500, "exec": 500}
_UNITS = {**_PAGES, **_WORK}
_EXITS = (
    # name, traffic, program
    ("un-accounted alloc", "un-accounted", "page_alloc"),
    ("untracked free", "un-accounted", "page_free"),
    ("charged alloc", "accounted", "page_alloc"),
    ("tracked free", "accounted", "page_free"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="at least 7 (default: %(default)s)")
    rounds = max(7, parser.parse_args().rounds)
    try:
        with make_tracer() as tracer:
            plan, mount = tracer.plan, tracer.hierarchy.mount
        tracers = _tracers(lambda: EmptyPrograms(plan), loads=plan.loads)
        with memory_cgroup(mount):
            traffics: dict[str, Traffic] = {"un-accounted": Anonymous(), "accounted": Pipe()}
            work: dict[str, Traffic] = {"two CPUs": PipeOnEachCpu(), "fork": Forks(), "exec": Execs()}
            _print_ratios(_time_rounds(tracers, {**traffics, **work}, rounds), rounds)
            _print_exits(_exit_rounds(lambda: EmptyPrograms(plan), traffics, rounds), rounds)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


Costs = dict[tuple[str, str], list[Cost]]
Tracers = Mapping[str, Callable[[], AbstractContextManager[object]]]


def _tracers(empty: Callable[[], EmptyPrograms], *, loads: bool) -> Tracers:
    """By name; `loads`: whether programs load the kernel's memory, and so can be had without, too."""
    tracers: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "no tracer": nullcontext,
        "empty programs": empty,
        "kmemtrace": make_tracer,
        "  --no-sites": lambda: make_tracer(sites=False),
    }
    if loads:
        tracers["  before 6.2"] = lambda: make_tracer(helpers=True)
    path = memleak_path()
    if path is None:
        print("memleak is not installed (Debian: bpfcc-tools); it is left out", file=sys.stderr)
    else:
        tracers["memleak"] = lambda: memleak(path)
    return tracers


def _time_rounds(tracers: Tracers, traffics: Mapping[str, Traffic], rounds: int) -> Costs:
    """Of a unit by (tracer, traffic), one entry a round."""
    costs: Costs = defaultdict(list)
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        for name, tracer in tracers.items():
            with tracer() as running:
                for kind, traffic in traffics.items():
                    warm(running, traffic, _UNITS[kind] // 16)
                    costs[name, kind].append(cost_per_unit(traffic, _UNITS[kind]))
    print(file=sys.stderr)
    return costs


def _print_ratios(costs: Costs, rounds: int) -> None:
    print(f"As ratios to no tracer in the same round: median (least to most) of {rounds}")
    times = {
        "wall": {key: [cost.wall for cost in each] for key, each in costs.items()},
        "CPU": {key: [cost.cpu for cost in each] for key, each in costs.items()},
    }
    for what, kinds in (("page", _PAGES), ("page, fork or exec", _WORK)):
        for clock, of_clock in times.items():
            print(f"\n{clock} time per {what}\n")
            print_ratios(of_clock, list(kinds), width=16)
        for kind in kinds:
            base = statistics.median(times["CPU"]["no tracer", kind])
            print(f"\nno tracer, {kind}: {base * 1e9:.0f} ns of CPU time", end="")
        print()
    print()


def _exit_rounds(
    empty: Callable[[], EmptyPrograms], traffics: Mapping[str, Traffic], rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Nanoseconds a run by (exit, "empty" or "kmemtrace"), one entry a round."""
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    with run_statistics():
        for _ in range(rounds):
            for who, tracer in (("empty", empty), ("kmemtrace", make_tracer)):
                with tracer() as running:
                    for kind, traffic in traffics.items():
                        warm(running, traffic, _UNITS[kind] // 16)
                        _measure(costs, who, kind, running.infos, traffic)
    return costs


def _measure(
    costs: dict[tuple[str, str], list[float]],
    who: str,
    kind: str,
    infos: Callable[[], Mapping[str, ProgramInfo]],
    traffic: Traffic,
) -> None:
    before = infos()
    traffic(_PAGES[kind])
    after = infos()
    for exit_, of_kind, program in _EXITS:
        if of_kind == kind:
            runs = after[program].runs - before[program].runs
            costs[exit_, who].append((after[program].run_ns - before[program].run_ns) / runs)


def _print_exits(costs: Mapping[tuple[str, str], list[float]], rounds: int) -> None:
    print(f"Time of one run, BPF statistics, as a ratio to an empty program: median of {rounds}\n")
    print(f"{'way out':20} {'empty ns':>9} {'ours ns':>9} {'more ns':>9} {'ratio':>7}")
    for exit_, _, _ in _EXITS:
        empty, ours = costs[exit_, "empty"], costs[exit_, "kmemtrace"]
        more = statistics.median(o - e for o, e in zip(ours, empty, strict=True))
        ratio = statistics.median(o / e for o, e in zip(ours, empty, strict=True))
        print(
            f"{exit_:20} {statistics.median(empty):9.1f} {statistics.median(ours):9.1f} "
            f"{more:9.1f} {ratio:7.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
