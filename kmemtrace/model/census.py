"""Defines what a census finds: what each cgroup of the machine has, and what keeps removed ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from kmemtrace.model.account import Account, CensusInfo
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

    def __init__(self) -> None:
        self._accounts: Mapping[CgroupKey, Account] = {}
        self._known: dict[int, tuple[Cgroup, Cgroup]] = {}
        """Cgroups as the last Snapshot had them, by id(), and with their accounts."""

    def joined(
        self,
        snapshot: Snapshot,
        info: CensusInfo,
        accounts: Mapping[CgroupKey, Account],
        uncharged: Iterable[Cgroup] = (),
    ) -> Snapshot:
        """Returns the Snapshot with it.

        A cgroup that is gone gets no account: what the census found of it was before.

        Args:
            snapshot: The Snapshot.
            info: About the census.
            accounts: By cgroup; not to be changed later.
            uncharged: Rows to add, as row_of() makes them: of cgroups that the Snapshot has none of, as
                nothing was charged to them since the start.
        """
        known = self._known
        if accounts is not self._accounts:
            known = {at: pair for at, pair in known.items() if pair[1].account is accounts.get(pair[0].key)}
        pairs = [known.get(id(one)) or (one, _with_account(one, accounts)) for one in snapshot.cgroups]
        self._accounts, self._known = accounts, {id(pair[0]): pair for pair in pairs}
        return replace(snapshot, cgroups=(*[one for _, one in pairs], *uncharged), census=info)


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
