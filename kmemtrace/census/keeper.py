"""The newest census, taken now and then beside the tracing, and the accounts that it gives to Snapshots."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from kmemtrace.census.census import Censor
from kmemtrace.census.memory import InterruptedReadingError
from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.model.account import Account, CensusInfo, added_caches
from kmemtrace.model.census import Census, joined, pinned_parts, row_of
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot
from kmemtrace.model.unseen import Unseen

LEAST_SECONDS = 30.0
_PER_CPU_SECOND = 100.0
"""Seconds between censuses for each second of CPU time that one takes: a hundredth of one CPU at most."""
_FIRST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A census, as Snapshots want it."""

    ended: float
    """By time.monotonic()."""
    info: CensusInfo
    accounts: dict[CgroupKey, Account]
    rows: tuple[Cgroup, ...]
    """Of the cgroups that have any kernel memory."""


class Keeper:
    """While it is entered a thread of its own, the only one that uses the Censor, takes censuses: one at
    once, then one every so many seconds. All else is for the one thread that makes Snapshots."""

    def __init__(
        self, censor: Censor, paths: CgroupPaths, subtree: str | None = None, interval: float | None = None
    ) -> None:
        """`subtree`: path of the cgroup that is traced with those below it; None: all are. `interval`:
        seconds from the end of a census to the next; None: as many as keep their share of a CPU below a
        hundredth."""
        self._censor, self._paths, self._subtree, self._interval = censor, paths, subtree, interval
        self._wake, self._first = threading.Event(), threading.Event()
        self._stopped = False
        self._kept: _Kept | None = None
        self._failure = "the first census is not done yet"
        self._ended: set[CgroupKey] = set()
        """Cgroups that were seen gone since the census."""
        self._thread = threading.Thread(target=self._work, name="census")
        self._until = 0.0

    def __enter__(self) -> Self:
        self._until = time.monotonic() + _FIRST_SECONDS
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._wake.set()
        self._censor.interrupt()
        self._thread.join()

    def wait_for_first(self) -> None:
        """Returns when there is a census, or has been no time for one in the first two seconds."""
        self._first.wait(max(0.0, self._until - time.monotonic()))

    def take_now(self) -> None:
        """Has a census be taken at once; where one is being taken, another after it."""
        self._wake.set()

    def joined(self, snapshot: Snapshot) -> Snapshot:
        """With the newest census; where there is none its `unseen` says why. Waits for none."""
        kept = self._kept
        if kept is None:
            return replace(snapshot, unseen={**snapshot.unseen, **_without(self._failure)})
        age = time.monotonic() - kept.ended
        self._ended = {c.key for c in snapshot.cgroups if c.state is CgroupState.GONE} | (
            self._ended & kept.accounts.keys()
        )
        info = replace(kept.info, age_seconds=age)
        snapshot = replace(snapshot, unseen={**snapshot.unseen, **info.unseen})
        return joined(snapshot, info, kept.accounts, list(self._still_there(kept)))

    def _still_there(self, kept: _Kept) -> Iterator[Cgroup]:
        """Of the cgroups that only the census may know: one that was removed since is not what it was."""
        for row in kept.rows:
            if row.key in self._ended:
                continue
            if row.state is CgroupState.ONLINE:
                found = self._paths.resolve(row.key.id)
                if not found.alive:
                    continue
                if found.path is not None and found.path != row.path:
                    row = replace(row, path=found.path, label=label(found.path))  # noqa: PLW2901
            if self._is_traced(row.path):
                yield row

    def _is_traced(self, path: str) -> bool:
        above = self._subtree
        return above is None or path == above or path.startswith(f"{above.rstrip('/')}/")

    def _work(self) -> None:
        pause = 0.0
        while True:
            self._wake.wait(pause)
            if self._stopped:
                return
            self._wake.clear()
            try:
                census = self._censor.take()
            except InterruptedReadingError:
                return
            except Exception as error:  # noqa: BLE001 what changes underway may be read as anything
                why = str(error) or type(error).__name__
                self._kept, self._failure = None, f"the last census failed: {why}"
                pause = self._interval or LEAST_SECONDS
            else:
                self._kept = _keep(census)
                pause = self._interval or default_pause(census.cpu_seconds)
            self._first.set()


class Absent:
    """In a Keeper's place where no census can be taken, or none is wanted."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for_first(self) -> None:
        """There will be none."""

    def take_now(self) -> None:
        """Nor now."""

    def joined(self, snapshot: Snapshot) -> Snapshot:
        """Its `unseen` says why it has no accounts."""
        return replace(snapshot, unseen={**snapshot.unseen, **_without(self._why)})


def _without(why: str) -> dict[Unseen, str]:
    """In Snapshot.unseen, where there is no census."""
    parts = (Unseen.SLAB, Unseen.PERCPU, Unseen.SOCKETS)
    return {Unseen.ACCOUNT: why, **dict.fromkeys(parts, "only a census reads it")}


def default_pause(cpu_seconds: float) -> float:
    """Seconds from the end of a census that took so much of a CPU to the next, where nobody says."""
    return max(LEAST_SECONDS, _PER_CPU_SECOND * cpu_seconds)


def _keep(census: Census) -> _Kept:
    return _Kept(
        time.monotonic(),
        CensusInfo(
            age_seconds=0.0,
            seconds=census.seconds,
            cpu_seconds=census.cpu_seconds,
            objects=census.objects,
            dying_cgroups=sum(one.state is CgroupState.DEAD for one in census.cgroups),
            pinned=pinned_parts(census),
            caches=added_caches(use for one in census.cgroups for use in one.account.caches),
            unseen=census.unseen,
        ),
        {one.key: one.account for one in census.cgroups},
        tuple(
            row_of(one, one.path, label(one.path))
            for one in census.cgroups
            if one.account.explained_bytes or one.account.kernel_bytes
        ),
    )
