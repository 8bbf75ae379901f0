"""Keeps the newest census, taken now and then beside the tracing, and gives its accounts to Snapshots."""

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

from kmemtrace.census.memory import InterruptedReadingError
from kmemtrace.census.pauses import LEAST_SECONDS, default_pause
from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.foreign import give_back_memory
from kmemtrace.model.account import Account, CensusInfo, added_caches
from kmemtrace.model.census import Census, Joiner, pinned_parts, row_of
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot
from kmemtrace.model.unseen import Unseen

if TYPE_CHECKING:
    from kmemtrace.census.census import Censor

_Part = TypeVar("_Part")
_FIRST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A census in the form that Snapshots need."""

    ended: float
    """When the census ended, by time.monotonic()."""
    info: CensusInfo
    accounts: dict[CgroupKey, Account]
    rows: tuple[Cgroup, ...]
    """Rows of the cgroups that have any kernel memory."""


class Keeper:
    """Takes a census at once and then one every so many seconds, on a thread of its own while it is entered.

    That thread is the only one that uses the Censor. All methods are for the one thread that makes Snapshots.
    """

    def __init__(
        self, censor: "Censor", paths: CgroupPaths, subtree: str | None = None, interval: float | None = None
    ) -> None:
        """Starts nothing yet: the thread starts when the Keeper is entered.

        Args:
            censor: Takes the censuses.
            paths: Knows the cgroups' paths, and which of them are alive.
            subtree: Path of the cgroup that is traced with those below it; None where all are.
            interval: Seconds from the end of a census to the next; None for as many as keep the censuses'
                share of a CPU below a hundredth.
        """
        self._censor, self._paths, self._subtree, self._interval = censor, paths, subtree, interval
        self._wake, self._first = threading.Event(), threading.Event()
        self._stopped = False
        self._kept: _Kept | None = None
        self._failure = "the first census is not done yet"
        self._joiner = Joiner(self._as_of_now)
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
        """Has a census taken at once; where one is being taken, another follows it."""
        self._wake.set()

    def joined(self, snapshot: Snapshot) -> Snapshot:
        """Adds the newest census to a Snapshot, without waiting for one.

        Returns:
            The Snapshot with accounts; where there is no census its `unseen` says why.
        """
        kept = self._kept
        if kept is None:
            return replace(snapshot, unseen={**snapshot.unseen, **_without(self._failure)})
        age = time.monotonic() - kept.ended
        info = replace(kept.info, age_seconds=age)
        snapshot = replace(snapshot, unseen={**snapshot.unseen, **info.unseen})
        return self._joiner.joined(snapshot, info, kept.accounts, kept.rows)

    def _as_of_now(self, row: Cgroup) -> Cgroup | None:
        """Returns the row of a cgroup as it is called by now; None where it was removed since the census."""
        if row.state is CgroupState.ONLINE:
            found = self._paths.resolve(row.key.id)
            if not found.alive:
                return None
            if found.path is not None and found.path != row.path:
                row = replace(row, path=found.path, label=label(found.path))
        return row if self._is_traced(row.path) else None

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
                self._kept = _keep(census, self._kept)
                pause = self._interval or default_pause(census.cpu_seconds)
            give_back_memory()  # what the objects were added up in
            self._first.set()


class Absent:
    """Stands in a Keeper's place where no census can be taken, or none is wanted."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for_first(self) -> None:
        """Returns at once, as there will be no census."""

    def take_now(self) -> None:
        """Does nothing, as no census can be taken."""

    def joined(self, snapshot: Snapshot) -> Snapshot:
        """Returns the Snapshot with the reason why it has no accounts in its `unseen`."""
        return replace(snapshot, unseen={**snapshot.unseen, **_without(self._why)})


def _without(why: str) -> dict[Unseen, str]:
    """Returns what Snapshot.unseen says where there is no census."""
    parts = (Unseen.SLAB, Unseen.PERCPU, Unseen.SOCKETS)
    return {Unseen.ACCOUNT: why, **dict.fromkeys(parts, "only a census reads it")}


def _keep(census: Census, before: _Kept | None) -> _Kept:
    """Makes of a census what Snapshots need; what is as in the one before stays the same object."""
    known = {} if before is None else before.accounts
    accounts = {one.key: _same(known.get(one.key), one.account) for one in census.cgroups}
    known_rows = {} if before is None else {row.key: row for row in before.rows}
    rows = (
        row_of(replace(one, account=accounts[one.key]), one.path, label(one.path))
        for one in census.cgroups
        if one.account.explained_bytes or one.account.kernel_bytes
    )
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
        accounts,
        tuple(_same(known_rows.get(row.key), row) for row in rows),
    )


def _same(before: _Part | None, now: _Part) -> _Part:
    """Returns what was before where it is equal to what is now."""
    return before if before is not None and before == now else now
