"""What each tier costs: `make bench-tiers`, or python bench/tiers.py [--rounds N].

In each round every tier that works on this kernel runs in turn, an empty program on each of its
hooks, then kmemtrace; then memleak. Programs' time is what the kernel's BPF statistics add up for all
programs of a tracer, per page of traffic, so nothing but the programs is in it. The work's time is CPU
time of who allocates and frees, without those statistics: the hooks are in it, too. Compare within one
run: all ratios are of the same round.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.tracers import EmptyPrograms, memleak, memleak_path, run_statistics, warm
from bench.traffic import Anonymous, Pipe, Traffic, cost_per_unit, memory_cgroup
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import CannotError, KmemtraceError
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.preparing import ADOPTION_PROGRAMS, SWEEP_PROGRAMS

_PAGES = {"un-accounted": 32768, "accounted": 32 * 256}
_WARM_PAGES = 1024
_AT_ALLOC = ("page_alloc", "charge_entry", "charge_exit")
_ON_REQUEST = (*SWEEP_PROGRAMS, *ADOPTION_PROGRAMS)
"""No page pays for them. The search for pages charged before the start goes on beside the traffic, and was
most of what the function tiers seemed to cost."""
_NOTHING, _BASE, _MEMLEAK = "no tracer", f"empty, {Tier.TRACEPOINT}", "memleak"

Tracers = dict[str, Callable[[], AbstractContextManager[object]]]


class Cost(NamedTuple):
    """Of a page's way through the allocator and back."""

    runs: float
    """Of BPF programs."""
    alloc_ns: float
    """In those at its allocation."""
    all_ns: float
    """In all of them."""
    cpu: float
    """Of the work, in seconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    rounds = parser.parse_args().rounds
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    try:
        tracers = _tracers()
        with memory_cgroup(memory_hierarchy().mount):
            traffics: dict[str, Traffic] = {"un-accounted": Anonymous(), "accounted": Pipe()}
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for name, tracer in tracers.items():
                    _measure(costs, name, tracer, traffics)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    _print(costs, rounds)
    return 0


def _tracers() -> Tracers:
    """By name, those that work here; what does not is told on stderr."""
    tracers: Tracers = {_NOTHING: nullcontext}
    for tier in (Tier.TRACEPOINT, Tier.FENTRY, Tier.KPROBE):
        try:
            with make_tracer(tier) as tracer:
                plan = tracer.plan
        except CannotError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        tracers[f"empty, {tier}"] = _empty(plan)
        tracers[f"kmemtrace, {tier}"] = _ours(tier, sites=True)
        tracers[f"  --no-sites, {tier}"] = _ours(tier, sites=False)
    path = memleak_path()
    if path is None:
        print("left out: memleak is not installed (Debian: bpfcc-tools)", file=sys.stderr)
    else:
        tracers[_MEMLEAK] = lambda: memleak(path)
    return tracers


def _empty(plan: Plan) -> Callable[[], AbstractContextManager[object]]:
    return lambda: EmptyPrograms(plan)


def _ours(tier: Tier, *, sites: bool) -> Callable[[], AbstractContextManager[object]]:
    return lambda: make_tracer(tier, sites=sites)


def _measure(
    costs: dict[tuple[str, str], list[Cost]],
    name: str,
    tracer: Callable[[], AbstractContextManager[object]],
    traffics: Mapping[str, Traffic],
) -> None:
    others = set(_programs())
    try:
        with tracer() as running:
            for kind, traffic in traffics.items():
                warm(running, traffic, _WARM_PAGES)
                cpu = cost_per_unit(traffic, _PAGES[kind]).cpu
                with run_statistics():
                    before = _programs()
                    pages = traffic(_PAGES[kind])
                    after = _programs()
                mine = [i for i, p in before.items() if i not in others and p.name not in _ON_REQUEST]
                costs[name, kind].append(_cost(before, after, mine, pages, cpu))
    except CannotError as error:
        print(f"left out: {name}: {error}", file=sys.stderr)


class _Program(NamedTuple):
    name: str
    runs: int
    ns: int


def _programs() -> dict[int, _Program]:
    """Every BPF program in the kernel, by its number."""
    listed = subprocess.run(["bpftool", "--json", "prog", "show"], capture_output=True, check=True)
    return {
        p["id"]: _Program(p.get("name", ""), p.get("run_cnt", 0), p.get("run_time_ns", 0))
        for p in json.loads(listed.stdout)
    }


def _cost(
    before: Mapping[int, _Program], after: Mapping[int, _Program], mine: list[int], pages: int, cpu: float
) -> Cost:
    def spent(at_alloc: bool) -> tuple[int, int]:
        chosen = [i for i in mine if not at_alloc or after[i].name in _AT_ALLOC]
        runs = sum(after[i].runs - before[i].runs for i in chosen)
        return runs, sum(after[i].ns - before[i].ns for i in chosen)

    runs, ns = spent(at_alloc=False)
    return Cost(runs / pages, spent(at_alloc=True)[1] / pages, ns / pages, cpu)


def _print(costs: Mapping[tuple[str, str], list[Cost]], rounds: int) -> None:
    print(f"Per page allocated and freed: median of {rounds}\n")
    print(
        "| tracer | traffic | runs | alloc, ns | alloc and free, ns | to empty, tracepoint "
        "| work, to no tracer | work, to empty on the same hooks |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (name, kind), found in costs.items():
        programs = [
            f"{statistics.median(c.runs for c in found):.2f}",
            f"{statistics.median(c.alloc_ns for c in found):.0f}" if name != _MEMLEAK else "",
            f"{statistics.median(c.all_ns for c in found):.0f}",
            _ratio(found, costs[_BASE, kind], lambda cost: cost.all_ns),
        ]
        same = costs.get((f"empty, {name.rpartition(', ')[2]}", kind), [])
        cells = [
            *(programs if name != _NOTHING else [""] * len(programs)),
            _ratio(found, costs[_NOTHING, kind], lambda cost: cost.cpu),
            _ratio(found, same, lambda cost: cost.cpu) if same else "",
        ]
        print(f"| {name.strip()} | {kind} | {' | '.join(cells)} |")


def _ratio(found: list[Cost], base: list[Cost], of: Callable[[Cost], float]) -> str:
    """Median of the rounds'."""
    return f"{statistics.median(of(c) / of(b) for c, b in zip(found, base, strict=False)):.2f}"


if __name__ == "__main__":
    sys.exit(main())
