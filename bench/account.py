"""How much of each cgroup's kernel memory is explained, and what a census costs: `make account`, or
python bench/account.py [--rounds N] [--json].

Starts `kmemtrace top` N times on the machine as it is, N times while loads of eleven kinds, each in a cgroup
of its own, are renewed all the time, and once when they rest, and prints its first frame's account of each
cgroup of over 1 MB. Exit status 1 where less is explained than kmemtrace promises.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.loads import running_loads
from kmemtrace.census.pauses import default_pause
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.censuses import open_censor
from kmemtrace.errors import ExitStatus, KmemtraceError
from kmemtrace.model.unseen import Unseen

_ROOT = Path(__file__).resolve().parent.parent
_LEAST_BYTES = 1 << 20
_PROMISED = {"as it is": 0.97, "under load": 0.97, "at rest": 0.999}
_SETTLE_SECONDS = 5.0
"""Until what the loads made first is charged, or what they freed late is gone."""
_WATCHED = (3, 20, 90)
"""Seconds of `top` until its first frame: emulated, a census may take longer than the shortest."""
_CENSUSES = 5
_GB = 1 << 30
_PARTS = ("pages", "slab", "percpu", "zswap", "stock")


@dataclass(frozen=True)
class Share:
    """How much of one cgroup's kernel memory a first frame explains."""

    when: str
    cgroup: str
    kernel_bytes: int
    parts: Mapping[str, int]
    """Bytes; without those that could not be read."""
    unexplained_bytes: int

    @property
    def explained(self) -> float:
        """0 to 1. What is there beyond the kernel's count is no better explained than what lacks."""
        return 1 - abs(self.unexplained_bytes) / self.kernel_bytes


@dataclass(frozen=True)
class Cost:
    """Of a census, medians of several; CPU seconds but for the first."""

    wall_seconds: float
    cpu_seconds: float
    gigabytes: float
    """Of struct pages gone through."""
    objects: int
    per_gigabyte: float
    per_million_objects: float
    """All but what depends on the struct pages' number alone."""

    def of(self, gigabytes: float, objects: float) -> float:
        """CPU seconds on such a machine."""
        return gigabytes * self.per_gigabyte + objects / 1e6 * self.per_million_objects


class _NoAccountError(KmemtraceError):
    """`top` gives none here; the message says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, metavar="N", default=3, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    try:
        shares, cost = _measure(max(1, options.rounds))
    except KmemtraceError as error:
        print(f"account: {error}", file=sys.stderr)
        return int(ExitStatus.CANNOT)
    print(json.dumps(_document(shares, cost)) if options.json else _text(shares, cost))
    less = [when for when, one in _lowest(shares).items() if one.explained < _PROMISED[when]]
    for when in less:
        print(f"account: {when}, less than {_percent(_PROMISED[when])} is explained", file=sys.stderr)
    return int(ExitStatus.BAD if less else ExitStatus.OK)


def _measure(rounds: int) -> tuple[list[Share], Cost]:
    shares = [share for _ in range(rounds) for share in _first_frame("as it is")]
    with running_loads(memory_hierarchy()) as loads:
        loads.renew(on=True)
        time.sleep(_SETTLE_SECONDS)
        for _ in range(rounds):
            shares += _of_loads(_first_frame("under load"), loads.names)
        loads.renew(on=False)
        time.sleep(_SETTLE_SECONDS)
        shares += _of_loads(_first_frame("at rest"), loads.names)
        return shares, _cost()


def _of_loads(shares: Iterable[Share], names: Sequence[str]) -> list[Share]:
    """What is told of the loads; one that holds too little for that is named on stderr."""
    found = {name: share for share in shares if (name := Path(share.cgroup).name) in names}
    missing = ", ".join(name for name in names if name not in found)
    if not found:
        raise _NoAccountError(f"no load has a cgroup of over 1 MB: {missing or 'none could be made'}")
    if missing:
        print(f"not over 1 MB: {missing}", file=sys.stderr)
    return list(found.values())


def _first_frame(when: str) -> list[Share]:
    """Of a `top` that is started for it."""
    frame: dict[str, Any] = {}
    for seconds in _WATCHED:
        ours = [sys.executable, "-m", "kmemtrace", "top", "--once", "--json", "--duration", f"{seconds}s"]
        path = os.environ | {"PYTHONPATH": str(_ROOT)}
        done = subprocess.run(ours, capture_output=True, text=True, check=False, env=path)
        if done.returncode != 0:
            raise _NoAccountError(done.stderr.strip().rpartition("\n")[2])
        frame = json.loads(done.stdout)
        if "census" in frame:
            return _told_in(frame, when)
    raise _NoAccountError(f"no census: {frame['unseen'].get(Unseen.ACCOUNT)}")


def _told_in(frame: Mapping[str, Any], when: str) -> list[Share]:
    """Empty where no cgroup has over 1 MB, as of a machine that has just booted, with the root alone."""
    why = frame["unseen"].get(Unseen.KERNEL)
    if why is not None:
        raise _NoAccountError(f"the kernel does not tell how much it charged to a cgroup: {why}")
    told = [(row["path"], row["account"]) for row in frame["cgroups"] if "account" in row]
    return [_share(when, path, account) for path, account in told if _is_large(account)]


def _is_large(account: Mapping[str, Any]) -> bool:
    return bool(account.get("kernel_bytes", 0) > _LEAST_BYTES)


def _share(when: str, path: str, account: Mapping[str, Any]) -> Share:
    parts = {part: account[f"{part}_bytes"] for part in _PARTS if f"{part}_bytes" in account}
    return Share(when, path, account["kernel_bytes"], parts, account["unexplained_bytes"])


def _cost() -> Cost:
    with open_censor() as censor:
        taken = [censor.take() for _ in range(_CENSUSES)]
    gigabytes = taken[0].page_frames * resource.getpagesize() / _GB
    objects = round(statistics.median(census.objects for census in taken))
    pages = statistics.median(census.pages_cpu_seconds for census in taken)
    rest = statistics.median(census.cpu_seconds - census.pages_cpu_seconds for census in taken)
    return Cost(
        statistics.median(census.seconds for census in taken),
        statistics.median(census.cpu_seconds for census in taken),
        gigabytes,
        objects,
        pages / gigabytes,
        rest / (objects / 1e6),
    )


def _lowest(shares: Iterable[Share]) -> dict[str, Share]:
    """By when, the cgroup of which least is explained."""
    return {share.when: share for share in sorted(shares, key=lambda share: -share.explained)}


def _estimate(cost: Cost) -> dict[str, float]:
    """For a machine of 1 TB that has as many objects in each GB as this one."""
    gigabytes, objects = 1024.0, cost.objects * 1024 / cost.gigabytes
    seconds = cost.of(gigabytes, objects)
    return {"gigabytes": gigabytes, "objects": objects, "cpu_seconds": seconds, **_share_of_cpu(seconds)}


def _share_of_cpu(seconds: float) -> dict[str, float]:
    pause = default_pause(seconds)
    return {"interval_seconds": pause, "cpu_share": seconds / (seconds + pause)}


def _document(shares: Sequence[Share], cost: Cost) -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "time": time.time(),
        "cgroups": [asdict(share) | {"explained": share.explained} for share in shares],
        "lowest": {when: one.explained for when, one in _lowest(shares).items()},
        "promised": _PROMISED,
        "census": asdict(cost) | _share_of_cpu(cost.cpu_seconds),
        "1 TB": _estimate(cost),
    }


def _text(shares: Sequence[Share], cost: Cost) -> str:
    columns = ("when", "cgroup", "kernel", *_PARTS, "unexplained", "explained")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in shares:
        parts = (f"{one.parts[part]:,}" if part in one.parts else "not read" for part in _PARTS)
        figures = (f"{one.kernel_bytes:,}", *parts, f"{one.unexplained_bytes:,}", _percent(one.explained))
        lines.append(f"| {one.when} | {one.cgroup} | {' | '.join(figures)} |")
    lines.append("")
    of_when = _lowest(shares)
    for when, lowest in of_when.items():
        lines.append(f"lowest {when}: {_percent(lowest.explained)} of {lowest.cgroup}")
    lines += [f"{when}: no cgroup has over 1 MB" for when in _PROMISED if when not in of_when]
    return "\n".join([*lines, "", *_told(cost)])


def _told(cost: Cost) -> list[str]:
    here, large = _share_of_cpu(cost.cpu_seconds), _estimate(cost)
    every, large_every = here["interval_seconds"], large["interval_seconds"]
    cost_here = (
        f"a census on {platform.release()}: {cost.wall_seconds:.2f} s, of it CPU {cost.cpu_seconds:.2f} s, "
        f"for {cost.gigabytes:.0f} GB and {cost.objects:,} objects"
    )
    rates = (
        f"  {1000 * cost.per_gigabyte:.1f} ms of CPU per GB, {1000 * cost.per_million_objects:.0f} ms per "
        f"million objects; every {every:.0f} s: {_percent(here['cpu_share'])} of one CPU"
    )
    estimate = (
        f"estimated for 1 TB with {large['objects'] / 1e6:.0f} million objects: {large['cpu_seconds']:.1f} s "
        f"of CPU, every {large_every:.0f} s: {_percent(large['cpu_share'])} of one CPU"
    )
    return [cost_here, rates, estimate]


def _percent(share: float) -> str:
    """Cut, not rounded: what is not all is not 100 %."""
    return f"{int(share * 10_000) / 100:.2f} %"


if __name__ == "__main__":
    sys.exit(main())
