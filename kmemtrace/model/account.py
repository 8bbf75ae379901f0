"""What a cgroup's kernel memory is made of, as a census found it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import CgroupKey


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Objects of one slab cache that are charged to one cgroup."""

    cache: str
    objects: int
    bytes: int
    """As charged: the objects with the pointers to their owner."""
    reclaimable: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One cgroup's own kernel memory, without its children's, in bytes. None: not read."""

    kernel_bytes: int | None
    """What the kernel says that it charged."""
    pages_bytes: int
    page_tables_bytes: int | None
    """Of the pages' bytes; None where the page does not tell that it is one."""
    slab_bytes: int
    caches: tuple[CacheUse, ...]
    """Most bytes first."""
    percpu_bytes: int | None
    """Of per-CPU areas, on all possible CPUs."""
    zswap_bytes: int | None
    """Of compressed swap, which is charged as kernel memory."""
    ahead_bytes: int
    """Charged, and not yet given to an object."""
    moved_bytes: int
    """By how much the kernel's count changed while the parts were read: so far they may be apart."""
    doubtful_bytes: int
    """By how much the pages may be more: a block that is no compound page does not tell how large it is."""

    @property
    def explained_bytes(self) -> int:
        return (
            self.pages_bytes
            + self.slab_bytes
            + self.ahead_bytes
            + (self.percpu_bytes or 0)
            + (self.zswap_bytes or 0)
        )

    @property
    def unexplained_bytes(self) -> int | None:
        """What the kernel charged and no page and no object has; negative: they have more than it charged."""
        return None if self.kernel_bytes is None else self.kernel_bytes - self.explained_bytes


class PinKind(StrEnum):
    """Whose pages keep a removed cgroup."""

    FILE = "file"
    """The page cache's."""
    SHMEM = "shmem"
    ANON = "anon"


@dataclass(frozen=True, slots=True)
class Pin:
    """Pages of user space's memory that are charged to a removed cgroup, of one file or of none."""

    kind: PinKind
    bytes: int
    device: str | None = None
    """As the kernel calls the file system, e.g. sda1 or tmpfs; None: of several files, or of none."""
    inode: int | None = None
    path: str | None = None
    """Below the root of its file system; None where the kernel knows no name of it any more."""


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
    """Most bytes first."""
    references: int
    """All that keep it, those of the pins and of cgroups below it included."""
    below: int
    """Removed cgroups directly below it, which keep it."""

    @property
    def held_bytes(self) -> int:
        """Memory that is lost to others as long as it stays."""
        return self.counted.account.explained_bytes + sum(pin.bytes for pin in self.pins)


@dataclass(frozen=True, slots=True)
class Census:
    time: float
    """Seconds since the epoch, of its end."""
    seconds: float
    cpu_seconds: float
    page_frames: int
    """That were looked at."""
    blocks: int
    """Of charged pages."""
    objects: int
    """That are charged."""
    cgroups: tuple[Counted, ...]
    """Of the memory hierarchy, the removed ones included; most kernel memory first."""
    unseen: Mapping[str, str]
    """What could not be read, and why."""
