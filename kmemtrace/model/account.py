"""Defines what a cgroup's kernel memory is made of, as a census found it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmemtrace.model.unseen import Unseen


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Objects of one slab cache that are charged to one cgroup."""

    cache: str
    objects: int
    bytes: int
    """Bytes as charged: the objects with the pointers to their owner."""
    reclaimable: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One cgroup's own kernel memory, without its children's, in bytes; None stands for what was not read."""

    kernel_bytes: int | None
    """What the kernel says that it charged."""
    pages_bytes: int
    page_tables_bytes: int | None
    """Bytes of those pages that are page tables; None where the page does not tell that it is one."""
    slab_bytes: int
    caches: tuple[CacheUse, ...]
    """Its slab caches, those with most bytes first."""
    percpu_bytes: int | None
    """Bytes of per-CPU areas, on all possible CPUs."""
    zswap_bytes: int | None
    """Bytes of compressed swap, which is charged as kernel memory."""
    ahead_bytes: int
    """Bytes that are charged, and not yet given to an object."""
    moved_bytes: int
    """By how much the kernel's count changed while the parts were read: so far they may be apart."""
    doubtful_bytes: int
    """By how much the pages may be more: a block that is no compound page does not tell how large it is."""
    sock_bytes: int | None = None
    """Of sockets' buffers, by the kernel's count, which is in none of its sums of kernel memory: nor here."""

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
        """Bytes that the kernel charged and no page and no object has; negative where they have more."""
        return None if self.kernel_bytes is None else self.kernel_bytes - self.explained_bytes

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part, which add up to `explained_bytes`; a part that was not read is left out."""
        known = {
            "pages": self.pages_bytes,
            "slab": self.slab_bytes,
            "percpu": self.percpu_bytes,
            "zswap": self.zswap_bytes,
            "stock": self.ahead_bytes,
        }
        return {part: size for part, size in known.items() if size is not None}


@dataclass(frozen=True, slots=True)
class CensusInfo:
    """The census that the accounts of a Snapshot are from."""

    age_seconds: float
    """Seconds since the census's end."""
    seconds: float
    """Seconds that it took, by the clock."""
    cpu_seconds: float | None
    """CPU seconds that it took; None where that is not told, as by a Prometheus server. The same holds for
    `objects`."""
    objects: int | None
    """How many objects are charged."""
    dying_cgroups: int
    """How many removed cgroups the kernel still has, whatever keeps them."""
    pinned: Mapping[str, int]
    """Bytes that these cgroups keep: "file", "shmem" and "anon" of user space's, and parts of their
    accounts."""
    caches: tuple[CacheUse, ...]
    """Slab caches of the whole machine, those with most bytes first."""
    unseen: Mapping[Unseen, str]
    """Parts that could not be read, and why."""


def added(accounts: Iterable[Account]) -> Account | None:
    """Adds accounts up to one.

    Returns:
        The sum; None where there is no account. What was not read of one of them is not known of all.
    """
    found = list(accounts)
    if len(found) <= 1:
        return found[0] if found else None
    return Account(
        kernel_bytes=_sum(one.kernel_bytes for one in found),
        pages_bytes=sum(one.pages_bytes for one in found),
        page_tables_bytes=_sum(one.page_tables_bytes for one in found),
        slab_bytes=sum(one.slab_bytes for one in found),
        caches=added_caches(use for one in found for use in one.caches),
        percpu_bytes=_sum(one.percpu_bytes for one in found),
        zswap_bytes=_sum(one.zswap_bytes for one in found),
        ahead_bytes=sum(one.ahead_bytes for one in found),
        moved_bytes=sum(one.moved_bytes for one in found),
        doubtful_bytes=sum(one.doubtful_bytes for one in found),
        sock_bytes=_sum(one.sock_bytes for one in found),
    )


def added_caches(uses: Iterable[CacheUse]) -> tuple[CacheUse, ...]:
    """Adds uses up to one for each cache, those with most bytes first."""
    found: dict[tuple[str, bool], tuple[int, int]] = {}
    for use in uses:
        objects, size = found.get((use.cache, use.reclaimable), (0, 0))
        found[use.cache, use.reclaimable] = objects + use.objects, size + use.bytes
    made = [CacheUse(cache, objects, size, rec) for (cache, rec), (objects, size) in found.items()]
    return tuple(sorted(made, key=lambda use: (-use.bytes, use.cache)))


def _sum(amounts: Iterable[int | None]) -> int | None:
    total = 0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
