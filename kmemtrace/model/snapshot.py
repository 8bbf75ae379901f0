"""Defines the Snapshot: everything known at one moment. Every output takes Snapshots and nothing else.

Pages are base pages throughout: an order-3 charge counts 8.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    """Identity of a cgroup; the id alone is not enough, as each v1 hierarchy numbers its own."""

    hierarchy: int
    id: int


@dataclass(frozen=True, slots=True)
class Site:
    """One allocation stack of one cgroup."""

    kind: SiteKind
    symbol: str
    """First function outside the allocator. It is FROM_BEFORE of pages charged before the start, and
    "(unknown)" when the stack was not recorded, or the kernel hides the names of functions."""
    stack: tuple[str, ...]
    """Frames as `function+0xoffset`, innermost first; empty when not recorded."""
    charged_pages: int
    uncharged_pages: int
    lost_pages: int | None = None
    """Pages given back without having been uncharged, as Cgroup.lost_pages has it."""
    preexisting_pages: int = 0
    """Pages charged before the start, as Cgroup.preexisting_pages has it."""

    @property
    def held_pages(self) -> int:
        """Pages charged here that are not given back yet, those from before the start included."""
        return _held(self)


def added_sites(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Adds sites up to one for each stack, most held pages first, then most charged.

    A stack may be recorded under two ids: its first frames are of who runs the program, which is called from
    another place while the kernel counts what programs take (kernel.bpf_stats_enabled).
    """
    found: dict[tuple[SiteKind, str, tuple[str, ...]], Site] = {}
    for one in sites:
        key = (one.kind, one.symbol, one.stack)
        found[key] = _sum_of(found[key], one) if key in found else one
    return tuple(
        sorted(found.values(), key=lambda s: (-s.held_pages, -s.charged_pages, s.kind, s.symbol, s.stack))
    )


def _sum_of(a: Site, b: Site) -> Site:
    lost = (
        None if a.lost_pages is None and b.lost_pages is None else (a.lost_pages or 0) + (b.lost_pages or 0)
    )
    return replace(
        a,
        charged_pages=a.charged_pages + b.charged_pages,
        uncharged_pages=a.uncharged_pages + b.uncharged_pages,
        lost_pages=lost,
        preexisting_pages=a.preexisting_pages + b.preexisting_pages,
    )


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What is known of one cgroup.

    It is counted since the tracer started, but for the account, and for what the cgroup held before.
    """

    key: CgroupKey
    path: str
    """Path below the hierarchy's root; "(id 1234)" when it could not be learnt."""
    label: str | None
    """Container, pod or unit that the path names, e.g. "docker 4f2a9c1b03de"."""
    state: CgroupState
    charged_pages: int
    uncharged_pages: int
    failed_charges: int
    """How many charges of pages were refused."""
    oldest_at: float | None
    """When the page held longest was charged, by the clock of Snapshot.watched_seconds; None when none is
    held. It is no age, which would be another in each Snapshot: what nothing happened to stays the same."""
    sites: tuple[Site, ...]
    """Call sites that pages were asked for at, most held first."""
    latency: Mapping[str, Histogram]
    """Histograms by "alloc", "charge" and "lifetime"; a key is absent where the tier cannot measure it. The
    tracepoint tier times the lives of one block in eight, taken by chance."""
    failed_by_errno: Mapping[str, int] | None = None
    """Failed charges by the error's name; None where the tier does not see results."""
    explicit_pages: int | None = None
    """Pages among those charged that were charged outside the page allocator (thread stacks); None where the
    tier does not see it."""
    reclaim_stalls: int | None = None
    """Times that a task of this cgroup had to free memory of a cgroup at its limit, for a charge of any kind;
    None where the kernel has no hook for it."""
    reclaim_stall_seconds: float | None = None
    """Seconds that this took; None where the kernel has no hook for it."""
    reparented_to: str | None = None
    """Path of the cgroup that a removed one's pages are counted to since; None where it was not seen."""
    kernel_pages_change: int | None = None
    """Change of the kernel's own MEMCG_KMEM total (whole pages, slab, per-CPU, stacks) since the start, in
    pages, this cgroup's own without its children's; None where the kernel has no hook for it."""
    lost_pages: int | None = None
    """Pages given back without having been uncharged, for certain: the kernel counts them for good. They are
    neither held nor uncharged. None where lost uncharges or size mismatches are not judged, and none was
    found otherwise."""
    preexisting_pages: int = 0
    """Pages charged before the start, and found then: they are held, or among those uncharged and lost since.
    Of a block that is not compound the first page alone is found."""
    mismatches: Mapping[MismatchClass, int] = field(default_factory=dict)
    """By class, charges to it that broke the promise, of the kinds that Snapshot.mismatches tells."""
    host: str | None = None
    """Host that it is on, if the Snapshot is of several (Snapshot.hosts)."""
    account: Account | None = None
    """What its kernel memory is made of, that from before the start included, as of Snapshot.census; None
    where there was none yet, or none can be taken."""
    objects: tuple[ObjectSite, ...] | None = None
    """Slab objects charged since the start, most held first; None where they are not followed."""

    @property
    def held_pages(self) -> int:
        """Pages charged to it that are not given back yet, those from before the start included."""
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
    """How many cgroups these are."""
    charged_pages: int = 0
    uncharged_pages: int = 0
    failed_charges: int = 0
    lost_pages: int | None = None
    """Pages given back without having been uncharged, as Cgroup.lost_pages has it."""
    preexisting_pages: int = 0
    """Pages charged before the start, as Cgroup.preexisting_pages has it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment, of a tracer, or of all hosts of a Prometheus server."""

    time: float
    """When it was taken, in seconds since the epoch."""
    host: str
    kernel: str
    """Release of the kernel, as uname has it."""
    tier: Tier
    watched_seconds: float
    """Seconds that it had been counted for, by a clock that nobody sets; of a Prometheus server, since it was
    first asked."""
    page_size: int
    """Size of a base page in bytes."""
    cgroups: tuple[Cgroup, ...]
    losses: Losses
    maps: Mapping[str, MapFill]
    """By name of a BPF map, how full it is."""
    gone: Gone = Gone()
    mismatches: tuple[Mismatch, ...] = ()
    """All mismatches since the start, certain ones first, alike ones folded into one."""
    exempt: Mapping[Exemption, int] = field(default_factory=dict)
    """How often something looked like a mismatch and is legal, by the reason; in base pages or blocks."""
    old: tuple[OldPages, ...] | None = None
    """Pages held for longer than was asked about, those of removed cgroups first, then most pages first; None
    where it was not asked for."""
    allocations: tuple[Allocations, ...] | None = None
    """Allocations of the whole machine; None where alloc latency is not measured."""
    charge_share: float | None = None
    """Part of the accounted allocations' time that their charges took, 0 to 1; None where it is not measured
    or nothing was charged."""
    preexisting_pages: int | None = None
    """Pages charged before the start: those that the cgroups held then, gone ones included. None until all
    have been looked for, or where they cannot be."""
    own_bytes: int | None = None
    """Bytes of kernel memory of the tracer's own maps, charged (from 5.11 on) to the cgroup that it runs in;
    None where the kernel does not tell."""
    unseen: Mapping[Unseen, str] = field(default_factory=dict)
    """What cannot be seen here, each with the reason."""
    unjudged_seconds: Mapping[MismatchClass, float] = field(default_factory=dict)
    """By mismatch class, of those that can be judged here: for how many seconds from the start it could not
    be judged yet. It grows as long as the class is in `unseen`."""
    hosts: int | None = None
    """How many hosts it is of, from a Prometheus server, and the tier is then the least of theirs; None where
    it is of this host, from a tracer."""
    census: CensusInfo | None = None
    """The census that the cgroups' accounts are from; None where they have none."""

    def age_seconds(self, charged_at: float) -> float:
        """Returns how long ago something was charged, as Cgroup.oldest_at tells when."""
        return max(0.0, self.watched_seconds - charged_at)

    def seconds_since(self, previous: "Snapshot | None") -> float:
        """Returns the seconds in which was counted what this one has more than a previous one.

        Args:
            previous: The other Snapshot, of the same source; None for the start, when nothing was counted.
        """
        return self.watched_seconds - (0.0 if previous is None else previous.watched_seconds)

    @property
    def charged_pages(self) -> int:
        """Pages charged to all cgroups, those that are gone included, so that it never goes backwards."""
        return self.gone.charged_pages + sum(c.charged_pages for c in self.cgroups)

    @property
    def uncharged_pages(self) -> int:
        """Pages uncharged from all cgroups, those that are gone included."""
        return self.gone.uncharged_pages + sum(c.uncharged_pages for c in self.cgroups)

    @property
    def lost_pages(self) -> int:
        """Pages known to be lost, of all cgroups, those that are gone included."""
        return (self.gone.lost_pages or 0) + sum(c.lost_pages or 0 for c in self.cgroups)

    @property
    def held_pages(self) -> int:
        """Pages charged to any cgroup that are not given back yet, those from before the start included."""
        return _held(self.gone) + sum(map(_held, self.cgroups))


def _held(of: Site | Cgroup | Gone) -> int:
    return of.preexisting_pages + of.charged_pages - of.uncharged_pages - (of.lost_pages or 0)
