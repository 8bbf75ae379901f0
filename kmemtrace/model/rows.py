"""From Snapshots to the rows of a table: grouping, rates, sorting, filtering. Pure functions."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, Site, Snapshot


class SortKey(StrEnum):
    """Columns to sort by, as `--sort` names them."""

    HELD = "held"
    CHARGE = "charge"
    UNCHARGE = "uncharge"
    FAIL = "fail"
    OLDEST = "oldest"
    P50 = "p50"
    P99 = "p99"
    MISMATCH = "mismatch"
    CGROUP = "cgroup"


class GroupBy(StrEnum):
    """What a row stands for, as `--by` names it."""

    CGROUP = "cgroup"
    SITE = "site"
    KIND = "kind"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class View:
    """How the user wants to see a Snapshot."""

    sort: SortKey = SortKey.HELD
    reverse: bool = False
    """Smallest first; for names, last first."""
    filter: str = ""
    by: GroupBy = GroupBy.CGROUP
    dead_only: bool = False
    tree: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Rates are per second; None stands for what is not known or judged."""

    key: str
    name: str
    label: str | None
    state: CgroupState
    held_pages: int
    held_bytes: int
    charged_pages: int
    charge_rate: float
    """Base pages."""
    uncharge_rate: float
    fail_rate: float
    """Charges."""
    oldest_seconds: float | None
    p50_seconds: float | None
    p99_seconds: float | None
    mismatches: int | None
    top_site: str
    top_kind: str
    depth: int = 0
    host: str | None = None
    """Of a cgroup, where there are several hosts."""


def latency_shown(snapshot: Snapshot) -> str:
    """Which latency the P50 and P99 columns show: of charges where the tier sees them, else of
    allocations, else how long pages were held."""
    for name in ("charge", "alloc"):
        if any(name in cgroup.latency for cgroup in snapshot.cgroups):
            return name
    return "lifetime"


def rows(snapshot: Snapshot, previous: Snapshot | None, view: View) -> list[Row]:
    """The table of `snapshot`, rates since `previous` (None: since the start)."""
    current = _sums(snapshot, view.by)
    before = {} if previous is None else _sums(previous, view.by)
    judged = "mismatches" not in snapshot.unseen
    latency = latency_shown(snapshot)
    seconds = snapshot.seconds_since(previous)
    table = [
        _row(key, sums, before.get(key), seconds, snapshot.page_size, latency, judged)
        for key, sums in current.items()
    ]
    wanted = [row for row in table if _is_wanted(row, current[row.key], view)]
    wanted.sort(key=_ordering(view.sort), reverse=view.reverse)
    return _as_tree(wanted) if view.tree and view.by is GroupBy.CGROUP else wanted


def selected(snapshot: Snapshot, previous: Snapshot | None, view: View) -> Snapshot:
    """`snapshot` with those of its cgroups only that have a row in `view`, in that order."""
    by_key = {_group(cgroup, GroupBy.CGROUP)[0]: cgroup for cgroup in snapshot.cgroups}
    table = rows(snapshot, previous, dataclasses.replace(view, by=GroupBy.CGROUP, tree=False))
    return dataclasses.replace(snapshot, cgroups=tuple(by_key[row.key] for row in table))


@dataclass(frozen=True, slots=True)
class Detail:
    """What is behind one row: its call sites, most held first, and its latencies."""

    name: str
    sites: tuple[tuple[str, Site], ...]
    """(path of the cgroup, site)"""
    latency: Mapping[str, Histogram]
    cgroups: tuple[Cgroup, ...]
    """Those that the row adds up; none for a row of call sites."""


def detail(snapshot: Snapshot, by: GroupBy, key: str) -> Detail | None:
    """Of the row called `key`; None when there is no such row any more."""
    sums = _sums(snapshot, by).get(key)
    if sums is None:
        return None
    sites = [
        (cgroup.path, site)
        for cgroup in snapshot.cgroups
        for site in cgroup.sites
        if key == _site_group(cgroup, site, by)
    ]
    sites.sort(key=lambda s: (-s[1].held_pages, -s[1].charged_pages, s[1].symbol))
    cgroups: tuple[Cgroup, ...] = ()
    if by not in (GroupBy.SITE, GroupBy.KIND):
        cgroups = tuple(c for c in snapshot.cgroups if _group(c, by)[0] == key)
    return Detail(sums.name, tuple(sites), sums.latency or {}, cgroups)


_LIVELIEST = tuple(CgroupState)
"""From the liveliest to what is no more."""


@dataclass(slots=True)
class _Sums:
    """What one row adds up."""

    name: str
    label: str | None
    host: str | None = None
    state: CgroupState = CgroupState.GONE
    """Of the liveliest of those that it adds up."""
    charged: int = 0
    uncharged: int = 0
    failed: int = 0
    mismatches: int = 0
    oldest: float | None = None
    latency: dict[str, Histogram] | None = None
    sites: dict[tuple[str, str], int] | None = None
    """Held pages by (kind, symbol)."""

    def add(self, cgroup: Cgroup, charged: int, uncharged: int) -> None:
        self.state = min(self.state, cgroup.state, key=_LIVELIEST.index)
        self.charged += charged
        self.uncharged += uncharged
        ages = [age for age in (self.oldest, cgroup.oldest_seconds) if age is not None]
        self.oldest = max(ages, default=None)

    def add_site(self, site: Site) -> None:
        if self.sites is None:
            self.sites = defaultdict(int)
        self.sites[site.kind.value, site.symbol] += site.held_pages

    def add_latency(self, latency: Mapping[str, Histogram]) -> None:
        if self.latency is None:
            self.latency = dict(latency)
            return
        for name, histogram in latency.items():
            old = self.latency.get(name)
            self.latency[name] = histogram if old is None else old + histogram


def _sums(snapshot: Snapshot, by: GroupBy) -> dict[str, _Sums]:
    groups: dict[str, _Sums] = {}
    if by in (GroupBy.SITE, GroupBy.KIND):
        for cgroup in snapshot.cgroups:
            for site in cgroup.sites:
                name = _site_group(cgroup, site, by)
                sums = groups.setdefault(name, _Sums(name, None))
                sums.add(cgroup, site.charged_pages, site.uncharged_pages)
                sums.oldest = None  # known by cgroup only
                sums.add_site(site)
        return groups
    for cgroup in snapshot.cgroups:
        key, name = _group(cgroup, by)
        host = cgroup.host if by is GroupBy.CGROUP else None
        sums = groups.setdefault(key, _Sums(name, cgroup.label, host))
        sums.add(cgroup, cgroup.charged_pages, cgroup.uncharged_pages)
        sums.failed += cgroup.failed_charges
        sums.mismatches += sum(cgroup.mismatches.values())
        sums.add_latency(cgroup.latency)
        for site in cgroup.sites:
            sums.add_site(site)
    return groups


def _group(cgroup: Cgroup, by: GroupBy) -> tuple[str, str]:
    """(key, name) of the row that a cgroup belongs to."""
    if by is GroupBy.CONTAINER:
        name = cgroup.label or "(no container or unit)"
        return name, name
    return f"{cgroup.key.hierarchy}:{cgroup.key.id}", cgroup.path


def _site_group(cgroup: Cgroup, site: Site, by: GroupBy) -> str:
    """Key of the row that a call site of a cgroup belongs to."""
    if by is GroupBy.SITE:
        return site.symbol
    return site.kind.value if by is GroupBy.KIND else _group(cgroup, by)[0]


def _row(
    key: str,
    sums: _Sums,
    before: _Sums | None,
    seconds: float,
    page_size: int,
    latency: str,
    judged: bool,
) -> Row:
    held = sums.charged - sums.uncharged
    histogram = (sums.latency or {}).get(latency)
    sites = sums.sites or {("", ""): 0}
    kind, symbol = max(sites, key=lambda site: sites[site])

    def rate(count: Callable[[_Sums], int]) -> float:
        change = count(sums) - (0 if before is None else count(before))
        return max(0, change) / seconds if seconds > 0 else 0.0

    return Row(
        key=key,
        name=sums.name,
        label=sums.label,
        state=sums.state,
        held_pages=held,
        held_bytes=held * page_size,
        charged_pages=sums.charged,
        charge_rate=rate(lambda s: s.charged),
        uncharge_rate=rate(lambda s: s.uncharged),
        fail_rate=rate(lambda s: s.failed),
        oldest_seconds=sums.oldest,
        p50_seconds=None if histogram is None else histogram.quantile_seconds(0.5),
        p99_seconds=None if histogram is None else histogram.quantile_seconds(0.99),
        mismatches=sums.mismatches if judged else None,
        top_site=symbol,
        top_kind=kind,
        host=sums.host,
    )


def _is_wanted(row: Row, sums: _Sums, view: View) -> bool:
    if view.dead_only and row.state is not CgroupState.DEAD:
        return False
    text = view.filter.casefold()
    names: Iterable[str] = (row.name, row.label or "", row.host or "", *(s for _, s in sums.sites or ()))
    return not text or any(text in name.casefold() for name in names)


_Order = Callable[[Row], tuple[float | str, ...]]


def _ordering(sort: SortKey) -> _Order:
    """Most first, names A to Z; equal rows by held pages, activity and name, so that they keep
    their places from frame to frame."""
    values: Mapping[SortKey, Callable[[Row], float | None]] = {
        SortKey.HELD: lambda r: r.held_pages,
        SortKey.CHARGE: lambda r: r.charge_rate,
        SortKey.UNCHARGE: lambda r: r.uncharge_rate,
        SortKey.FAIL: lambda r: r.fail_rate,
        SortKey.OLDEST: lambda r: r.oldest_seconds,
        SortKey.P50: lambda r: r.p50_seconds,
        SortKey.P99: lambda r: r.p99_seconds,
        SortKey.MISMATCH: lambda r: r.mismatches,
    }
    if sort is SortKey.CGROUP:
        return lambda r: (r.name,)
    value = values[sort]

    def order(row: Row) -> tuple[float | str, ...]:
        found = value(row)
        first = math.inf if found is None else -found
        return first, -row.held_pages, -row.charged_pages, row.name

    return order


def _as_tree(table: list[Row]) -> list[Row]:
    """Children under their nearest ancestor that has a row; siblings keep their order."""
    by_path = {(row.host, row.name): row for row in table}
    children: dict[_Place | None, list[Row]] = defaultdict(list)
    for row in table:
        children[_parent(row, by_path)].append(row)
    tree: list[Row] = []

    def add(parent: _Place | None, depth: int) -> None:
        for row in children.get(parent, ()):
            tree.append(dataclasses.replace(row, depth=depth))
            if by_path[row.host, row.name] is row:
                add((row.host, row.name), depth + 1)

    add(None, 0)
    return tree


_Place = tuple[str | None, str]
"""Host and path."""


def _parent(row: Row, known: Mapping[_Place, Row]) -> _Place | None:
    path = row.name
    while path not in ("", "/"):
        path = path.rpartition("/")[0] or "/"
        if (row.host, path) in known:
            return row.host, path
    return None
