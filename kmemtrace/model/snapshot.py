"""Snapshot: everything known at one moment. Every output takes Snapshots and nothing else.

Pages are base pages throughout: an order-3 charge counts 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmemtrace.model.account import Account, CensusInfo
from kmemtrace.model.enums import CgroupState, Exemption, MismatchClass, SiteKind, Tier
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.losses import Losses, MapFill
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.unseen import Unseen

SCHEMA_VERSION = 1

FROM_BEFORE = "(from before)"
"""In place of the function that asked for pages charged before the start: nothing tells it any more."""


class CgroupKey(NamedTuple):
    """Identity of a cgroup. The id alone is not enough: each v1 hierarchy numbers its own."""

    hierarchy: int
    id: int


@dataclass(frozen=True, slots=True)
class Site:
    """One allocation stack of one cgroup."""

    kind: SiteKind
    symbol: str
    """First function outside the allocator; FROM_BEFORE of pages charged before the start; "(unknown)" when
    the stack was not recorded, or the kernel hides the names of functions."""
    stack: tuple[str, ...]
    """Frames as `function+0xoffset`, innermost first; empty when not recorded."""
    charged_pages: int
    uncharged_pages: int
    lost_pages: int | None = None
    """As a cgroup's; so are those of before the start."""
    preexisting_pages: int = 0

    @property
    def held_pages(self) -> int:
        return _held(self)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What is known of one cgroup, counted since the tracer started but for its account and for what it held
    before."""

    key: CgroupKey
    path: str
    """Path below the hierarchy's root; "(id 1234)" when it could not be learnt."""
    label: str | None
    """Container, pod or unit that the path names, e.g. "docker 4f2a9c1b03de"."""
    state: CgroupState
    charged_pages: int
    uncharged_pages: int
    failed_charges: int
    oldest_seconds: float | None
    """Age of the page held longest; None when none is held."""
    sites: tuple[Site, ...]
    """Most held first."""
    latency: Mapping[str, Histogram]
    """By "alloc", "charge" and "lifetime"; a key is absent where the tier cannot measure it."""
    failed_by_errno: Mapping[str, int] | None = None
    """Failed charges by the error's name; None where the tier does not see results."""
    explicit_pages: int | None = None
    """Of those charged, outside the page allocator (thread stacks); None where not seen."""
    reclaim_stalls: int | None = None
    """Times that a task of this cgroup had to free memory of a cgroup at its limit, for a charge of
    any kind; None where the kernel has no hook for it."""
    reclaim_stall_seconds: float | None = None
    reparented_to: str | None = None
    """Path of the cgroup that the kernel counts a removed one's pages to since; None where it was
    not seen."""
    kernel_pages_change: int | None = None
    """Change of the kernel's own MEMCG_KMEM total (whole pages, slab, per-CPU, stacks) since
    the start, in pages, this cgroup's own without its children's; None where the kernel has no
    hook for it."""
    lost_pages: int | None = None
    """Given back without having been uncharged, for certain: the kernel counts them for good. They are
    neither held nor uncharged. None where lost uncharges or size mismatches are not judged, and none was
    found otherwise."""
    preexisting_pages: int = 0
    """Charged before the start, and found then: held, or among those uncharged and lost since. Of a block
    that is not compound the first page alone is found."""
    mismatches: Mapping[MismatchClass, int] = field(default_factory=dict)
    """Charges to it that broke the promise, of the kinds that Snapshot.mismatches tells."""
    host: str | None = None
    """Where it is, if there are several (Snapshot.hosts)."""
    account: Account | None = None
    """What its kernel memory is made of, that from before the start included, as of Snapshot.census; None
    where there was none yet, or none can be taken."""
    objects: tuple[ObjectSite, ...] | None = None
    """Slab objects charged since the start, most held first; None where they are not followed."""

    @property
    def held_pages(self) -> int:
        return _held(self)


@dataclass(frozen=True, slots=True)
class OldPages:
    """Pages of one cgroup and call site that are held for longer than was asked about."""

    key: CgroupKey
    path: str
    state: CgroupState
    kind: SiteKind
    symbol: str
    stack: tuple[str, ...]
    pages: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Allocations:
    """Time inside the page allocator of allocations of one order."""

    accounted: bool
    order: int
    latency: Histogram


@dataclass(frozen=True, slots=True)
class Gone:
    """Sums of the cgroups that were removed, hold nothing any more and have no row."""

    cgroups: int = 0
    charged_pages: int = 0
    uncharged_pages: int = 0
    failed_charges: int = 0
    lost_pages: int | None = None
    """As a cgroup's; so are those of before the start."""
    preexisting_pages: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    time: float
    """Seconds since the epoch."""
    host: str
    kernel: str
    tier: Tier
    watched_seconds: float
    """How long it had been counted, by a clock that nobody sets; of a Prometheus server, since it was first
    asked."""
    page_size: int
    cgroups: tuple[Cgroup, ...]
    losses: Losses
    maps: Mapping[str, MapFill]
    gone: Gone = Gone()
    mismatches: tuple[Mismatch, ...] = ()
    """Since the start, certain ones first."""
    exempt: Mapping[Exemption, int] = field(default_factory=dict)
    """What looked like a mismatch and is legal, by the reason; base pages or blocks."""
    old: tuple[OldPages, ...] | None = None
    """Those of removed cgroups first, then most pages first; None where it was not asked for."""
    allocations: tuple[Allocations, ...] | None = None
    """Of the whole machine; None where alloc latency is not measured."""
    charge_share: float | None = None
    """Part of the accounted allocations' time that their charges took, 0 to 1; None where it is not
    measured or nothing was charged."""
    preexisting_pages: int | None = None
    """Charged before the start: those that the cgroups held then, gone ones included. None until all have
    been looked for, or where they cannot be."""
    own_bytes: int | None = None
    """Kernel memory of the tracer's own maps, charged (from 5.11 on) to the cgroup that it runs in;
    None where the kernel does not tell."""
    unseen: Mapping[Unseen, str] = field(default_factory=dict)
    """What this tier cannot see, and why."""
    unjudged_seconds: Mapping[MismatchClass, float] = field(default_factory=dict)
    """By mismatch class, of those that can be judged here: for how long from the start it could not be yet.
    Grows as long as the class is in `unseen`."""
    hosts: int | None = None
    """How many it is of, from a Prometheus server; None where it is of this host, from a tracer. The tier
    is then the least of all hosts'."""
    census: CensusInfo | None = None
    """What the cgroups' accounts are from; None where they have none."""

    def seconds_since(self, previous: "Snapshot | None") -> float:
        """The time in which what was counted between the two was counted; None: since the start."""
        return self.watched_seconds - (0.0 if previous is None else previous.watched_seconds)

    @property
    def charged_pages(self) -> int:
        """Of all cgroups, those that are gone included: never goes backwards."""
        return self.gone.charged_pages + sum(c.charged_pages for c in self.cgroups)

    @property
    def uncharged_pages(self) -> int:
        return self.gone.uncharged_pages + sum(c.uncharged_pages for c in self.cgroups)

    @property
    def lost_pages(self) -> int:
        """Those that are known of."""
        return (self.gone.lost_pages or 0) + sum(c.lost_pages or 0 for c in self.cgroups)

    @property
    def held_pages(self) -> int:
        return _held(self.gone) + sum(map(_held, self.cgroups))


def _held(of: Site | Cgroup | Gone) -> int:
    return of.preexisting_pages + of.charged_pages - of.uncharged_pages - (of.lost_pages or 0)
