"""How often a stack that was told by what was learned is another's: `make bench-walk`, or
python bench/walk.py [--tier TIER] [--seconds N] [--known N].

A mixed load runs in a cgroup, and of the stacks that are told by what was learned of return addresses each
is walked by the kernel as well. It prints how many were known, and how many of these were another's.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.traffic import memory_cgroup
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.check import examine
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import CannotError, KmemtraceError
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.tracer import Tracer

_LOAD = (
    *("pipe", "pipeherd", "sock", "sockpair", "udp", "splice", "vm-splice", "tee", "msg", "eventfd"),
    *("fork", "vfork", "exec", "clone", "pthread", "mmap", "vm", "mremap", "fault", "io-uring"),
    *("epoll", "inotify", "dentry", "open", "bpf-map", "sem-sysv", "shm-sysv", "timerfd"),
)
"""Stressors of stress-ng."""
_PARTS = 4
"""They take turns: all of them at once leave an emulated guest no time to make a Snapshot."""
_TURN = 10
"""Snapshots, one each _INTERVAL seconds."""
_INTERVAL = 1.0
_MOST_SECONDS = 1800


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300, help="at least (default: %(default)s)")
    parser.add_argument(
        "--known",
        type=int,
        default=100_000,
        help=f"go on until so many were known, {_MOST_SECONDS} s at most (default: %(default)s)",
    )
    parser.add_argument("--tier", type=Tier, choices=list(Tier), help="(default: each that can be had here)")
    options = parser.parse_args()
    try:
        if options.tier is not None:
            _hold(options.tier, options.seconds, options.known)
            return 0
        for tier in reversed(list(Tier)[: list(Tier).index(_best_tier()) + 1]):
            _hold(tier, options.seconds, options.known)
    except KmemtraceError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    return 0


def _best_tier() -> Tier:
    """That of `kmemtrace check`; where there is none, to make a tracer of any says why."""
    return Tier(examine()["tier"] or Tier.TRACEPOINT)


def _hold(tier: Tier, seconds: int, known: int) -> None:
    """Holds what is told in that tier against the kernel's walk."""
    with make_tracer(tier, walk_checks=1) as tracer:
        if tracer.plan.walked is not None:
            raise CannotError(f"Each stack is walked by the kernel: {tracer.plan.walked}.")
        with memory_cgroup(memory_hierarchy().mount):
            _watch(tracer, seconds, known)


def _watch(tracer: Tracer, least_seconds: int, least_known: int) -> None:
    began, seconds, known = time.monotonic(), 0.0, 0
    stressors = _stressors()
    for part in cycle(range(_PARTS)):
        with _load(stressors[part::_PARTS]):
            for _ in range(_TURN):
                time.sleep(_INTERVAL)
                snapshot = tracer.snapshot()
        known = snapshot.losses.checked_stacks or 0
        seconds = time.monotonic() - began
        if seconds >= least_seconds and (known >= least_known or seconds >= _MOST_SECONDS):
            break
    charged = sum(c.charged_pages for c in snapshot.cgroups) + snapshot.gone.charged_pages
    sites = {s.symbol for c in snapshot.cgroups for s in c.sites}
    wrong = snapshot.losses.wrong_stacks
    where = f"{tracer.plan.release}, {tracer.plan.tier} tier"
    print(f"{where}, {seconds:.0f} s: {charged:,} pages charged, at {len(sites)} call sites")
    print(
        f"stacks told by what was learned, each walked as well: {known:,}; another's: {wrong:,}", flush=True
    )


@contextmanager
def _load(stressors: list[str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:  # it writes where it is started
        # Behind the tracer, which has to learn.
        command = ["nice", "-n19", "stress-ng", "--quiet", "--timeout=0"]
        command += [f"--{one}=1" for one in stressors]
        command += ["--vm-bytes=64M", "--mmap-bytes=32M", "--shm-sysv-bytes=8M"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _stressors() -> list[str]:
    """Those of the load that this stress-ng has."""
    if shutil.which("stress-ng") is None:
        raise CannotError("stress-ng is not installed (Debian: stress-ng).")
    known = subprocess.run(["stress-ng", "--stressors"], capture_output=True, text=True, check=True)
    return [one for one in _LOAD if one in known.stdout.split()]


if __name__ == "__main__":
    sys.exit(main())
