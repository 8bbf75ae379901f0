"""Says how a user wants to see a Snapshot as a table."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class SortKey(StrEnum):
    """Columns to sort by, as `--sort` names them; model/columns.py has what each shows."""

    KERNEL = "kernel"
    SLAB = "slab"
    PERCPU = "percpu"
    HELD = "held"
    GROWTH = "growth"
    CHARGE = "charge"
    UNCHARGE = "uncharge"
    FAIL = "fail"
    OLDEST = "oldest"
    P50 = "p50"
    P99 = "p99"
    MISMATCH = "mismatch"
    CHARGED = "charged"
    UNCHARGED = "uncharged"
    OBJECTS = "objects"
    OBJECT_HELD = "object-held"
    OBJECT_CHARGE = "object-charge"
    OBJECT_FREE = "object-free"
    CGROUP = "cgroup"


class GroupBy(StrEnum):
    """What a row stands for, as `--by` names it."""

    CGROUP = "cgroup"
    SITE = "site"
    KIND = "kind"
    CONTAINER = "container"
    CACHE = "cache"

    @property
    def has_cgroups(self) -> bool:
        """Whether a row adds up whole cgroups; else it adds up call sites, or slab caches, of many."""
        return self in (GroupBy.CGROUP, GroupBy.CONTAINER)


class Place(NamedTuple):
    """Where a cgroup stands, whether it was ever charged or not."""

    host: str | None
    path: str

    @property
    def parent(self) -> "Place | None":
        """The place above it; None for a root.

        What has no path ("(id 1234)", "(other)") is below its root.
        """
        return _parent(self)

    @property
    def depth(self) -> int:
        """How many places are above it."""
        return 0 if self.path == "/" else max(1, self.path.count("/"))


@lru_cache(1 << 16)
def _parent(place: Place) -> Place | None:
    """Returns the place above; remembered, as a tree of thousands asks for each again with every frame."""
    if place.path == "/":
        return None
    above = place.path.rpartition("/")[0] if place.path.startswith("/") else ""
    return Place(place.host, above or "/")


@dataclass(frozen=True, slots=True)
class View:
    """How the user wants to see a Snapshot."""

    sort: SortKey = SortKey.HELD
    reverse: bool = False
    """Whether the smallest come first; for names, the last ones."""
    filter: str = ""
    by: GroupBy = GroupBy.CGROUP
    dead_only: bool = False
    tree: bool = False
    opened: frozenset[Place] | None = None
    """Parents whose children the tree shows; None for all."""
    closed: frozenset[Place] = frozenset()
    """Parents that the user closed where all are open: among what a filter found."""

    @property
    def narrowed(self) -> bool:
        """Whether some rows are left out: a tree then shows what was found, and is open for that."""
        return self.dead_only or bool(self.filter)

    def is_open(self, place: Place) -> bool:
        if self.narrowed:
            return place not in self.closed
        return self.opened is None or place in self.opened
