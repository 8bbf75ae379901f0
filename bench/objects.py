"""What it costs to follow slab objects: `make bench-objects`, or python bench/objects.py [--rounds N].

Prints CPU time per call, as ratios to no tracer; each round has every tracer in turn, so that a slow or busy
machine slows all alike.
"""

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ratios import print_ratios
from bench.tracers import EmptyPrograms
from bench.traffic import memory_cgroup
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import KmemtraceError
from kmemtrace.model.unseen import Unseen

_CALLS = 20_000


def open_and_close() -> None:
    """Two objects of the slab, both accounted, come and go with each: a file and a name."""
    for _ in range(_CALLS):
        os.close(os.eventfd(0))


def look_up() -> None:
    """An object of 4 KB comes and goes with each that is not accounted: the buffer of the path."""
    for _ in range(_CALLS):
        os.access("/", os.F_OK)


_LOADS: Mapping[str, Callable[[], None]] = {"un-accounted": look_up, "accounted": open_and_close}
Tracers = Mapping[str, Callable[[], AbstractContextManager[object]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="at least 7 (default: %(default)s)")
    rounds = max(7, parser.parse_args().rounds)
    try:
        with make_tracer(objects=True) as tracer:
            plan, mount = tracer.plan, tracer.hierarchy.mount
        if not plan.follows_objects:
            print(f"bench: {plan.unseen[Unseen.OBJECTS]}", file=sys.stderr)
            return 4
        tracers: Tracers = {
            "no tracer": nullcontext,
            "kmemtrace": make_tracer,
            "empty programs": lambda: EmptyPrograms(plan),
            "kmemtrace --objects": lambda: make_tracer(objects=True),
        }
        with memory_cgroup(mount):
            _print(_measure(tracers, rounds), rounds)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


def _measure(tracers: Tracers, rounds: int) -> dict[tuple[str, str], list[float]]:
    """CPU seconds of a call by (tracer, load), one entry a round."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        for name, tracer in tracers.items():
            with tracer():
                time.sleep(0.5)  # what a tracer does beside is done by then
                for kind, load in _LOADS.items():
                    begin = time.thread_time()
                    load()
                    times[name, kind].append((time.thread_time() - begin) / _CALLS)
    print(file=sys.stderr)
    return times


def _print(times: Mapping[tuple[str, str], list[float]], rounds: int) -> None:
    print(
        f"CPU time per call, as a ratio to no tracer in the same round: median (least to most) of {rounds}\n"
    )
    print_ratios(times, list(_LOADS), width=20)
    for kind in _LOADS:
        more = [
            t - empty
            for t, empty in zip(
                times["kmemtrace --objects", kind], times["empty programs", kind], strict=True
            )
        ]
        base = statistics.median(times["no tracer", kind])
        print(
            f"\n{kind}: no tracer {base * 1e9:.0f} ns a call, --objects "
            f"{statistics.median(more) * 1e9:.0f} ns more than empty programs",
            end="",
        )
    print()


if __name__ == "__main__":
    sys.exit(main())
