"""Defines what a census finds: what each cgroup of the machine has, and what keeps removed ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kmemtrace.model.account import Account, CensusInfo
from kmemtrace.model.changes import changes
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot
from kmemtrace.model.unseen import Unseen


class PinKind(StrEnum):
    """Whose pages keep a removed cgroup: the page cache's, shared memory's or anonymous memory's."""

    FILE = "file"
    """Pages of the page cache."""
    SHMEM = "shmem"
    ANON = "anon"


@dataclass(frozen=True, slots=True)
class Pin:
    """Pages of user space's memory that are charged to a removed cgroup, of one file or of none."""

    kind: PinKind
    bytes: int
    device: str | None = None
    """What the kernel calls the file system, e.g. sda1 or tmpfs; None: of several files, or of none."""
    inode: int | None = None
    path: str | None = None
    """The file's path below the root of its file system; None where the kernel knows no name of it any
    more."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One cgroup in a census."""

    key: CgroupKey
    path: str
    state: CgroupState
    account: Account


@dataclass(frozen=True, slots=True)
class Removed:
    """A removed cgroup that the kernel still has, and why."""

    counted: Counted
    pins: tuple[Pin, ...]
    """What pins it, most bytes first."""
    references: int
    """How many references keep it, those of the pins and of cgroups below it included."""
    below: int
    """How many removed cgroups are directly below it, which keep it."""

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that are lost to others as long as it stays."""
        return self.counted.account.explained_bytes + sum(pin.bytes for pin in self.pins)


@dataclass(frozen=True, slots=True)
class Census:
    time: float
    """When it ended, in seconds since the epoch."""
    seconds: float
    cpu_seconds: float
    pages_cpu_seconds: float
    """CPU seconds of these that went into the struct pages, which take as long whatever is charged."""
    page_frames: int
    """How many page frames were looked at."""
    blocks: int
    """How many blocks of pages are charged."""
    objects: int
    """How many objects are charged."""
    cgroups: tuple[Counted, ...]
    """All cgroups of the memory hierarchy, the removed ones included; most kernel memory first."""
    pinned: Mapping[str, int]
    """Bytes of user space's memory that is charged to removed cgroups, by PinKind."""
    unseen: Mapping[Unseen, str]
    """What could not be read, and why."""


def pinned_parts(census: Census) -> dict[str, int]:
    """Returns the bytes that removed cgroups keep, by what it is.

    These are user space's memory by kind, and parts of accounts.
    """
    found = dict(census.pinned)
    for one in census.cgroups:
        if one.state is CgroupState.DEAD:
            for part, size in one.account.parts.items():
                found[part] = found.get(part, 0) + size
    return found


class Joiner:
    """Adds what a census found to one Snapshot after the other.

    A cgroup that is the same object as before, and has the same account, is the same object with it.
    """

    def __init__(self, now: Callable[[Cgroup], Cgroup | None] = lambda row: row) -> None:
        """Takes what makes of a census's row the row of now; None for that of a cgroup that is not there."""
        self._now = now
        self._accounts: Mapping[CgroupKey, Account] = {}
        self._cgroups: tuple[Cgroup, ...] = ()
        """As the last Snapshot had them."""
        self._known: dict[int, Cgroup] = {}
        """The same with their accounts, by id() of what they are without."""
        self._ended: set[CgroupKey] = set()
        """Cgroups that were seen gone since the census was taken."""
        self._rows: Sequence[Cgroup] = ()
        """Those of the census."""
        self._uncharged: list[Cgroup] = []
        """Those of them that the Snapshot has none of."""

    def joined(
        self,
        snapshot: Snapshot,
        info: CensusInfo,
        accounts: Mapping[CgroupKey, Account],
        rows: Sequence[Cgroup] = (),
    ) -> Snapshot:
        """Returns the Snapshot with it.

        A cgroup that is gone gets no account: what the census found of it was before.

        Args:
            snapshot: The Snapshot.
            info: About the census.
            accounts: By cgroup; not to be changed later.
            rows: Of the census's cgroups, as row_of() makes them: those are added that the Snapshot has none
                of, as nothing was charged to them since the start. Not to be changed later.
        """
        left, come = changes(self._cgroups, snapshot.cgroups)
        self._cgroups = snapshot.cgroups
        self._move(left, come, accounts)
        self._choose(left, come, rows)
        mine = map(self._known.__getitem__, map(id, snapshot.cgroups))
        others = (self._now(row) for row in self._uncharged if row.key not in self._ended)
        return replace(snapshot, cgroups=(*mine, *(row for row in others if row is not None)), census=info)

    def _move(
        self, left: Iterable[Cgroup], come: Iterable[Cgroup], accounts: Mapping[CgroupKey, Account]
    ) -> None:
        for one in left:
            del self._known[id(one)]
        if accounts is not self._accounts:
            self._accounts = accounts
            self._ended &= accounts.keys()
            come = [one for one in self._cgroups if self._differs(one)]
        for one in come:
            self._known[id(one)] = _with_account(one, accounts)

    def _differs(self, one: Cgroup) -> bool:
        """Tells whether a cgroup is not known with the account that it has."""
        known = self._known.get(id(one))
        return known is None or known.account is not self._accounts.get(one.key)

    def _choose(self, left: Iterable[Cgroup], come: Iterable[Cgroup], rows: Sequence[Cgroup]) -> None:
        """Finds the rows that are not the Snapshot's."""
        before, now = {one.key for one in left}, {one.key for one in come}
        self._ended |= {one.key for one in come if one.state is CgroupState.GONE}
        if before != now or rows is not self._rows:
            self._rows, charged = rows, {one.key for one in self._cgroups}
            self._uncharged = [row for row in rows if row.key not in charged]


def _with_account(cgroup: Cgroup, accounts: Mapping[CgroupKey, Account]) -> Cgroup:
    account = None if cgroup.state is CgroupState.GONE else accounts.get(cgroup.key)
    return cgroup if account is None else replace(cgroup, account=account)


def row_of(counted: Counted, path: str, label: str | None) -> Cgroup:
    """Makes the row of a cgroup that only the census knows: it has an account, and no counts."""
    return Cgroup(
        key=counted.key,
        path=path,
        label=label,
        state=counted.state,
        charged_pages=0,
        uncharged_pages=0,
        failed_charges=0,
        oldest_at=None,
        sites=(),
        latency={},
        account=counted.account,
    )
