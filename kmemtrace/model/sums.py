"""Adds up the rows of a table: cgroups, or call sites of many cgroups."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from kmemtrace.model.account import Account, CacheUse, added
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.objects import ObjectSite, added_objects
from kmemtrace.model.snapshot import Cgroup, Site, Snapshot
from kmemtrace.model.view import GroupBy, Place

_LIVELINESS = {state: at for at, state in enumerate(CgroupState)}
"""Rank by state: least for what lives, most for what is gone."""
_NO_LABEL = "(no container or unit)"


@dataclass(slots=True)
class Sums:
    """The sums of one row.

    The counts are added up at once; call sites and latencies, which take long and which only the rows on the
    screen show, when they are asked for.
    """

    name: str
    label: str | None = None
    host: str | None = None
    dead: int = 0
    """How many cgroups were removed and still hold pages."""
    state: CgroupState | None = None
    """State of the liveliest of what it adds up; None where that is nothing."""
    charged: int = 0
    uncharged: int = 0
    lost: int = 0
    before: int = 0
    """Pages charged before the start."""
    failed: int = 0
    mismatches: int = 0
    oldest_at: float | None = None
    """When the page held longest was charged, as Cgroup.oldest_at tells it."""
    kernel: int | None = None
    """Bytes, as its cgroups' accounts have them; None where none has. So are `slab` and `percpu`."""
    slab: int | None = None
    percpu: int | None = None
    objects: int | None = None
    """Objects of a slab cache, as the cgroups' accounts have them."""
    object_bytes: int | None = None
    """Bytes held by the slab objects that were followed; None where none is. The next two count objects."""
    object_charged: int | None = None
    object_freed: int | None = None
    parts: list["Cgroup | tuple[Cgroup, Site] | Sums"] = field(default_factory=list)
    """What was added: cgroups whole, call sites without the others of their cgroups, sums of children."""
    shares: list[tuple[Cgroup, CacheUse | ObjectSite]] = field(default_factory=list)
    """What each cgroup has of a slab cache, by its account and by the objects that were followed."""

    @property
    def held(self) -> int:
        return self.before + self.charged - self.uncharged - self.lost

    @property
    def has_cgroups(self) -> bool:
        """Whether it adds up whole cgroups, not single call sites."""
        return not self.shares and (not self.parts or not isinstance(self.parts[0], tuple))

    @property
    def place(self) -> Place:
        """The place of a cgroup's row."""
        return Place(self.host, self.name)

    def add_cgroup(self, cgroup: Cgroup) -> None:
        self.parts.append(cgroup)
        self._add_state(cgroup.state)
        self.charged += cgroup.charged_pages
        self.uncharged += cgroup.uncharged_pages
        self.lost += cgroup.lost_pages or 0
        self.before += cgroup.preexisting_pages
        self.failed += cgroup.failed_charges
        if cgroup.mismatches:
            self.mismatches += sum(cgroup.mismatches.values())
        self._add_oldest(cgroup.oldest_at)
        if (account := cgroup.account) is not None:
            self._add_memory(account.kernel_bytes, account.slab_bytes, account.percpu_bytes)
        if cgroup.objects is not None:
            self._add_objects(0, 0, 0)
            for site in cgroup.objects:
                self._add_objects(site.held_bytes, site.charged_objects, site.freed_objects)

    def add_site(self, cgroup: Cgroup, site: Site) -> None:
        """Adds a call site; the ages of pages are known by cgroup only."""
        self.parts.append((cgroup, site))
        self._add_state(cgroup.state)
        self.charged += site.charged_pages
        self.uncharged += site.uncharged_pages
        self.lost += site.lost_pages or 0
        self.before += site.preexisting_pages

    def add_cache(self, cgroup: Cgroup, use: CacheUse) -> None:
        self.shares.append((cgroup, use))
        self._add_state(cgroup.state)
        self.slab = _plus(self.slab, use.bytes)
        self.objects = _plus(self.objects, use.objects)

    def add_object_site(self, cgroup: Cgroup, site: ObjectSite) -> None:
        self.shares.append((cgroup, site))
        self._add_state(cgroup.state)
        self._add_objects(site.held_bytes, site.charged_objects, site.freed_objects)

    def add_below(self, child: "Sums") -> None:
        """Adds all of a child, with what is below it."""
        self.parts.append(child)
        self.dead += child.dead
        if child.state is not None:
            self._live(child.state)
        self.charged += child.charged
        self.uncharged += child.uncharged
        self.lost += child.lost
        self.before += child.before
        self.failed += child.failed
        self.mismatches += child.mismatches
        self._add_oldest(child.oldest_at)
        self._add_memory(child.kernel, child.slab, child.percpu)
        self._add_objects(child.object_bytes, child.object_charged, child.object_freed)

    def _add_state(self, state: CgroupState) -> None:
        self.dead += state is CgroupState.DEAD
        self._live(state)

    def _live(self, state: CgroupState) -> None:
        if self.state is None or _LIVELINESS[state] < _LIVELINESS[self.state]:
            self.state = state

    def _add_memory(self, kernel: int | None, slab: int | None, percpu: int | None) -> None:
        self.kernel = _plus(self.kernel, kernel)
        self.slab = _plus(self.slab, slab)
        self.percpu = _plus(self.percpu, percpu)

    def _add_objects(self, held: int | None, charged: int | None, freed: int | None) -> None:
        self.object_bytes = _plus(self.object_bytes, held)
        self.object_charged = _plus(self.object_charged, charged)
        self.object_freed = _plus(self.object_freed, freed)

    def _add_oldest(self, at: float | None) -> None:
        if at is not None and (self.oldest_at is None or at < self.oldest_at):
            self.oldest_at = at

    def all_cgroups(self) -> Iterator[Cgroup]:
        # Cgroups may be nested deeper than calls in Python.
        waiting = [self]
        while waiting:
            one = waiting.pop()
            for part in one.parts:
                if isinstance(part, Cgroup):
                    yield part
                elif isinstance(part, Sums):
                    waiting.append(part)

    def account(self) -> Account | None:
        """Returns the account of all its cgroups; None where none has one."""
        return added(c.account for c in self.all_cgroups() if c.account is not None)

    def object_sites(self) -> tuple[ObjectSite, ...] | None:
        """Returns the object sites of all its cgroups; None where no objects are followed."""
        if self.shares:
            sites = [one for _, one in self.shares if isinstance(one, ObjectSite)]
            return added_objects(sites) if sites else None
        followed = [c.objects for c in self.all_cgroups() if c.objects is not None]
        return added_objects(site for sites in followed for site in sites) if followed else None

    def all_sites(self) -> Iterator[tuple[Cgroup, Site]]:
        for part in self.parts:
            if isinstance(part, tuple):
                yield part
        for cgroup in self.all_cgroups():
            for site in cgroup.sites:
                yield cgroup, site

    def top_site(self) -> tuple[str, str]:
        """Returns kind and function that asked for most of the held pages; empty where none is known."""
        held: dict[tuple[str, str], int] = defaultdict(int)
        for _, site in self.all_sites():
            held[site.kind.value, site.symbol] += site.held_pages
        return max(held, key=held.__getitem__, default=("", ""))

    def latency(self) -> dict[str, Histogram]:
        found: dict[str, Histogram] = {}
        for cgroup in self.all_cgroups():
            for name, histogram in cgroup.latency.items():
                old = found.get(name)
                found[name] = histogram if old is None else old + histogram
        return found


def _plus(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def key_of(cgroup: Cgroup) -> str:
    """Returns the key of a cgroup's row."""
    return f"{cgroup.key.hierarchy}:{cgroup.key.id}"


def sums_of_cgroup(cgroup: Cgroup) -> Sums:
    """Returns the sums of a cgroup's row; it is the first of their parts."""
    found = Sums(cgroup.path, cgroup.label, cgroup.host)
    found.add_cgroup(cgroup)
    return found


def sums(snapshot: Snapshot, by: GroupBy) -> dict[str, Sums]:
    """Adds up rows, by their keys, each of which names its row from one Snapshot to the next."""
    groups: dict[str, Sums] = {}
    for cgroup in snapshot.cgroups:
        if by is GroupBy.CGROUP:
            groups[key_of(cgroup)] = sums_of_cgroup(cgroup)
        elif by is GroupBy.CONTAINER:
            key = cgroup.label or _NO_LABEL
            groups.setdefault(key, Sums(key, cgroup.label)).add_cgroup(cgroup)
        elif by is GroupBy.CACHE:
            _add_caches(groups, cgroup)
        else:
            for site in cgroup.sites:
                key = site.symbol if by is GroupBy.SITE else site.kind.value
                groups.setdefault(key, Sums(key)).add_site(cgroup, site)
    return groups


def _add_caches(groups: dict[str, Sums], cgroup: Cgroup) -> None:
    for use in () if cgroup.account is None else cgroup.account.caches:
        groups.setdefault(use.cache, Sums(use.cache)).add_cache(cgroup, use)
    for site in cgroup.objects or ():
        groups.setdefault(site.cache, Sums(site.cache)).add_object_site(cgroup, site)
