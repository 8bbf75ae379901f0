"""A machine that is made up, and busy: each of its cgroups changes at every Snapshot, by chance.

Each has call sites, slab caches, a histogram of lifetimes, and an account as of a census a minute. Hours of
it are recorded by the recorder's own writer, by clocks that are made up as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from kmemtrace.commands.record import MERGED_AFTER, MERGED_BEYOND, MERGED_STEP
from kmemtrace.model.account import Account, CacheUse, CensusInfo
from kmemtrace.model.enums import CgroupState, SiteKind, Tier
from kmemtrace.model.histogram import BUCKETS, Histogram
from kmemtrace.model.losses import Losses
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Site, Snapshot
from kmemtrace.recording.rotation import Detail, Now
from kmemtrace.recording.writer import Writer

AS_RECORD_DOES = Detail(MERGED_AFTER, MERGED_BEYOND, MERGED_STEP)
"""Its defaults."""
_WHOLE_SECONDS = 1800.0
"""At the end of a day: of a busy machine less than that is not merged."""

BEGAN = 1_780_000_000.0
CENSUS_SECONDS = 60.0
_KINDS = (SiteKind.PIPE, SiteKind.UNIX_SOCKET, SiteKind.PAGE_TABLE)
_CACHES = 8
_STACKS = 40
_BUCKETS = range(4, 14)
"""Those that lifetimes are in."""
_PAGE = 4096


def _stack(number: int) -> tuple[str, ...]:
    frames = (f"function_{number % 7}_{depth}+0x{depth + number:x}" for depth in range(18))
    return ("__alloc_frozen_pages_noprof+0x2e9", *frames, "do_syscall_64+0x82")


_ALL_STACKS = [_stack(number) for number in range(_STACKS)]


class BusyMachine:
    """Makes its Snapshots, the same each time."""

    def __init__(self, cgroups: int, interval: float) -> None:
        self.interval, self._count, self._watched = interval, cgroups, 0.0
        self._chance = np.random.default_rng(7)
        sites = (cgroups, len(_KINDS))
        self._charged, self._uncharged = np.zeros(sites, np.int64), np.zeros(sites, np.int64)
        self._lived = np.zeros((cgroups, len(_BUCKETS)), np.int64)
        self._lived_ns = np.zeros(cgroups, np.int64)
        self._accounts: list[Account] = []
        self._census_at = -CENSUS_SECONDS

    def snapshots(self, seconds: float) -> Iterator[Snapshot]:
        """Yields those of so many seconds more."""
        for _ in range(round(seconds / self.interval)):
            yield self._next(self._watched)
            self._watched += self.interval

    def _next(self, watched: float) -> Snapshot:
        self._pass()
        if watched - self._census_at >= CENSUS_SECONDS:
            self._accounts, self._census_at = self._census(), watched
        oldest = (watched - self._chance.uniform(0, 30, self._count)).tolist()
        rows = zip(
            self._charged.tolist(),
            self._uncharged.tolist(),
            self._lived.tolist(),
            self._lived_ns.tolist(),
            oldest,
            self._accounts,
            strict=True,
        )
        return Snapshot(
            time=BEGAN + watched,
            host="node-7",
            kernel="6.18.0",
            tier=Tier.TRACEPOINT,
            watched_seconds=watched,
            page_size=_PAGE,
            cgroups=tuple(_cgroup(which, *row) for which, row in enumerate(rows)),
            losses=Losses({"page_free": int(watched) // 100}, {"pages": 0}, 0, 0, 0, 0, 0),
            maps={},
            census=CensusInfo(watched - self._census_at, 0.2, 0.2, 1_000_000, 0, {}, (), {}),
        )

    def _pass(self) -> None:
        """Charges and uncharges for an interval: of each call site, some hundred pages a second."""
        most = 256 * self.interval
        spread = most / 12**0.5 / self.interval**0.5  # as of a second each, by chance
        ended = self._charged - self._uncharged
        charged = self._chance.normal(most / 2, spread, self._charged.shape).astype(np.int64)
        held = self._chance.integers(0, 3000, self._charged.shape)
        self._charged += np.maximum(charged, held - ended + 1)
        self._uncharged = self._charged - held
        pages = np.maximum(1, charged.sum(axis=1))
        shares = self._chance.dirichlet(np.full(len(_BUCKETS), 5.0), self._count)
        self._lived += (shares * pages[:, None]).astype(np.int64)
        self._lived_ns += self._chance.integers(10**6, 10**9, self._count) * round(self.interval)

    def _census(self) -> list[Account]:
        held = (self._charged - self._uncharged).sum(axis=1).tolist()
        objects = self._chance.integers(1, 20_000, (self._count, _CACHES)).tolist()
        return [_account(*one) for one in zip(held, objects, strict=True)]


def _account(held: int, objects: list[int]) -> Account:
    caches = tuple(
        CacheUse(f"cache-{place}", count, count * (64 << place), reclaimable=place < 2)
        for place, count in enumerate(objects)
    )
    slab = sum(one.bytes for one in caches)
    pages = held * _PAGE
    return Account(
        kernel_bytes=pages + slab + 8192 + objects[0],
        pages_bytes=pages,
        page_tables_bytes=pages // 3 // _PAGE * _PAGE,
        slab_bytes=slab,
        caches=caches,
        percpu_bytes=8192,
        zswap_bytes=0,
        ahead_bytes=objects[0],
        moved_bytes=0,
        doubtful_bytes=0,
        sock_bytes=objects[1] * 16,
    )


def _cgroup(
    which: int,
    charged: list[int],
    uncharged: list[int],
    lived: list[int],
    lived_ns: int,
    oldest: float,
    account: Account,
) -> Cgroup:
    counts = (0,) * _BUCKETS.start + tuple(lived) + (0,) * (BUCKETS - _BUCKETS.stop)
    sites = tuple(
        Site(
            kind,
            f"asked_{place}",
            _ALL_STACKS[(which * 3 + place) % _STACKS],
            charged[place],
            uncharged[place],
        )
        for place, kind in enumerate(_KINDS)
    )
    return Cgroup(
        key=CgroupKey(0, which + 1),
        path=f"/kubepods.slice/kubepods-burstable.slice/pod{which:05d}/container",
        label=None,
        state=CgroupState.ONLINE,
        charged_pages=sum(charged),
        uncharged_pages=sum(uncharged),
        failed_charges=0,
        oldest_at=oldest,
        sites=sites,
        latency={"lifetime": Histogram(counts, lived_ns)},
        account=account,
    )


def record(folder: Path, machine: BusyMachine, seconds: float, detail: Detail | None) -> None:
    """Records so many seconds, as `kmemtrace record` does, but that it waits for what is merged."""
    with _Recorder(folder, machine, detail) as recorder:
        recorder.go_on(seconds)


def record_day(folder: Path, cgroups: int, interval: float) -> None:
    """Records a day as it is in the end: what merging leaves out is not made in the first place."""
    machine = BusyMachine(cgroups, AS_RECORD_DOES.step)
    with _Recorder(folder, machine, AS_RECORD_DOES) as recorder:
        recorder.go_on(86_400 - _WHOLE_SECONDS)
        machine.interval = interval
        recorder.go_on(_WHOLE_SECONDS)


class _Recorder:
    def __init__(self, folder: Path, machine: BusyMachine, detail: Detail | None) -> None:
        self._machine, self._passed = machine, 0.0
        self._writer = Writer(folder, 1.0, detail=detail, minute=float("inf"), now=self._now)

    def _now(self) -> Now:
        return Now(BEGAN + self._passed, "made up", self._passed)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        self._writer.begin({"kernel": "6.18.0", "tier": "tracepoint"})
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.__exit__()

    def go_on(self, seconds: float) -> None:
        a_minute = max(1, round(60 / self._machine.interval))
        for number, snapshot in enumerate(self._machine.snapshots(seconds)):
            self._writer.add(snapshot)
            self._passed += self._machine.interval
            if number % a_minute == a_minute - 1:
                self._writer.finish()
                self._writer.merge()
        self._writer.finish()
        self._writer.merge()
