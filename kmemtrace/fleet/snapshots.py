"""Makes a Snapshot of all hosts, of what their exporters tell."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from kmemtrace.cgroups.labels import label
from kmemtrace.errors import CannotError
from kmemtrace.fleet import accounts, queries
from kmemtrace.fleet.accounts import Place
from kmemtrace.fleet.prometheus import Prometheus, Sample
from kmemtrace.model.account import Account
from kmemtrace.model.enums import CgroupState, Confidence, MismatchClass, Tier
from kmemtrace.model.losses import Losses, MapFill
from kmemtrace.model.metrics import Metric
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot
from kmemtrace.model.unseen import Unseen

UNSEEN = {
    **accounts.UNSEEN,
    Unseen.SITES: "a Prometheus server has call sites by kind and host only: run kmemtrace top on that host",
    Unseen.OLDEST: "a Prometheus server does not have the age of single pages",
    Unseen.LATENCY_BY_CGROUP: "a Prometheus server has the latencies of whole hosts",
}

_MOST_REASONS = 3

_Value = TypeVar("_Value", bound=StrEnum)


@dataclass(slots=True)
class _One:
    """What is told of one cgroup, by metric."""

    held: dict[CgroupState, float] = field(default_factory=dict)
    counts: dict[Metric, float] = field(default_factory=dict)
    account: Account | None = None
    lost_pages: int | None = None
    """Pages that were lost for certain; None where this is not judged."""
    mismatches: dict[MismatchClass, int] = field(default_factory=dict)


class Fleet:
    """Makes Snapshots as a tracer does; rates between them are as fine as the server's scrapes."""

    def __init__(self, server: Prometheus) -> None:
        self._server = server
        self._ids: dict[tuple[str, str, CgroupState], int] = {}
        self._first: float | None = None

    def snapshot(self) -> Snapshot:
        """Makes a Snapshot of everything that the server knows now.

        In the first no time has passed: what was counted before tells no rate.

        Raises:
            CannotError: The server does not answer or knows nothing of kmemtrace.
        """
        told = self._server.query(queries.HOSTS)
        builds = _of(told, Metric.BUILD_INFO)
        if not builds:
            raise CannotError(
                f"{self._server.url} knows no host with kmemtrace. Let it scrape `kmemtrace export`."
            )
        held = self._server.query(queries.HELD)
        counted = self._server.query(queries.COUNTED)
        now = time.monotonic()
        if self._first is None:
            self._first = now
        page_size = int(_highest(told, Metric.PAGE_SIZE_BYTES) or 4096)
        mismatches, hosts = _mismatches(told), {_host(b) for b in builds}
        return Snapshot(
            time=time.time(),
            host="1 host" if len(hosts) == 1 else f"{len(hosts)} hosts",
            kernel=_common(builds, "kernel"),
            tier=min((_label_of(Tier, b, "tier") for b in builds), key=list(Tier).index),
            watched_seconds=now - self._first,
            page_size=page_size,
            cgroups=tuple(self._cgroups(_by_place(held, counted, told, mismatches), page_size)),
            losses=_losses(told),
            maps=_maps(told),
            mismatches=mismatches,
            preexisting_pages=_sum(told, Metric.PREEXISTING_PAGES),
            own_bytes=_sum(told, Metric.OWN_MAP_BYTES),
            unseen=UNSEEN | _unseen(told) | accounts.without_census(hosts, told),
            hosts=len(hosts),
            census=accounts.census_of(told),
        )

    def _cgroups(self, found: Mapping[Place, _One], page_size: int) -> Iterable[Cgroup]:
        for at, one in found.items():
            yield from self._rows(at, one, page_size)

    def _rows(self, at: Place, one: _One, page_size: int) -> Iterable[Cgroup]:
        """Yields a cgroup's rows, one per state; what is not told by state goes to the first."""
        host, path = at
        for state in sorted(one.held, reverse=True):  # online first
            pages, counts, lost = round(one.held[state] / page_size), one.counts, one.lost_pages or 0
            # A series may be younger than what its cgroup holds: the difference of its counters is not
            # what is held, and the rate of the one follows from that of the other.
            charged = max(pages + lost, int(counts.get(Metric.CHARGED_PAGES, 0)))
            yield Cgroup(
                key=CgroupKey(0, self._ids.setdefault((host, path, state), len(self._ids) + 1)),
                path=path,
                label=label(path),
                state=state,
                charged_pages=charged,
                uncharged_pages=charged - pages - lost,
                failed_charges=int(counts.get(Metric.FAILED_CHARGES, 0)),
                oldest_at=None,
                sites=(),
                latency={},
                reclaim_stalls=_whole(counts.get(Metric.RECLAIM_STALLS)),
                reclaim_stall_seconds=counts.get(Metric.RECLAIM_STALL_SECONDS),
                lost_pages=one.lost_pages,
                mismatches=dict(one.mismatches),
                host=host,
                account=one.account,
            )
            one = _One(one.held, lost_pages=None if one.lost_pages is None else 0)


def _by_place(
    held: Iterable[Sample], counted: list[Sample], told: list[Sample], mismatches: Iterable[Mismatch]
) -> dict[Place, _One]:
    found: dict[Place, _One] = defaultdict(_One)
    for sample in held:
        state = _label_of(CgroupState, sample, "state")
        found[_place(sample)].held[state] = sample.value
    metrics = {str(metric): metric for metric in queries.COUNTS}
    for sample in counted:
        if sample.name in metrics:
            found[_place(sample)].counts[metrics[sample.name]] = sample.value
    known, lost = accounts.accounts(counted), _of(told, Metric.LOST_PAGES)
    judging = {_host(sample) for sample in lost}
    for at, one in found.items():
        one.account = known.get(at)
        one.lost_pages = 0 if at.host in judging else None
    for sample in lost:
        if _label(sample, "confidence") == Confidence.CERTAIN and _place(sample) in found:
            one = found[_place(sample)]
            one.lost_pages = (one.lost_pages or 0) + int(sample.value)
    for mismatch in mismatches:
        at = Place(mismatch.host or "", mismatch.charged_to or "")
        if at in found:
            of_class = found[at].mismatches
            of_class[mismatch.mismatch_class] = of_class.get(mismatch.mismatch_class, 0) + mismatch.count
    return found


def _place(sample: Sample) -> Place:
    return Place(_host(sample), sample.labels.get("cgroup", ""))


def _host(sample: Sample) -> str:
    return sample.labels.get("instance", "")


def _label(sample: Sample, name: str) -> str:
    """Returns the value of a sample's label.

    Raises:
        CannotError: It is not there: aggregated away, or relabelled by the server.
    """
    if name not in sample.labels:
        raise CannotError(
            f"{sample.name} has a series without its label `{name}`: this needs the series as `kmemtrace "
            "export` tells them, not aggregated or relabelled."
        )
    return sample.labels[name]


def _label_of(values: type[_Value], sample: Sample, name: str) -> _Value:
    """Returns the member of `values` that a sample's label names.

    Raises:
        CannotError: It is not there, or names none.
    """
    try:
        return values(_label(sample, name))
    except ValueError:
        raise CannotError(
            f"{sample.name} has a series whose label `{name}` is {sample.labels[name]!r}, none of "
            f"{', '.join(values)}: this needs the series as `kmemtrace export` of this version tells them."
        ) from None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _of(samples: Iterable[Sample], metric: Metric) -> list[Sample]:
    return [s for s in samples if s.name == str(metric)]


def _sum(samples: Iterable[Sample], metric: Metric) -> int | None:
    found = _of(samples, metric)
    return int(sum(s.value for s in found)) if found else None


def _highest(samples: Iterable[Sample], metric: Metric) -> float | None:
    return max((s.value for s in _of(samples, metric)), default=None)


def _common(samples: Iterable[Sample], name: str) -> str:
    """Returns the label's value if all have the same, else how many there are."""
    values = {s.labels.get(name, "") for s in samples}
    return values.pop() if len(values) == 1 else f"{len(values)} {name}s"


def _losses(samples: list[Sample]) -> Losses:
    by_reason: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sample in _of(samples, Metric.MISSED_EVENTS):
        by_reason[_label(sample, "reason")][_label(sample, "program")] += int(sample.value)
    mended: dict[str, int] = defaultdict(int)
    for sample in _of(samples, Metric.MENDED_PAGES):
        mended[_label(sample, "how")] += int(sample.value)
    return Losses(
        recursion_misses=dict(by_reason["recursion"]) or None,
        map_full=dict(by_reason["full"]),
        ring_drops=0,
        healed=mended["healed"],
        swept=mended["swept"],
        unmatched_frees=0,
        unknown_stacks=_sum(samples, Metric.UNKNOWN_STACKS) or 0,
        unpaired=sum(by_reason["unpaired"].values()),
        pages_busy=sum(by_reason["busy"].values()),
        checked_stacks=_sum(samples, Metric.CHECKED_STACKS),
        wrong_stacks=_sum(samples, Metric.WRONG_STACKS),
    )


def _maps(samples: list[Sample]) -> dict[str, MapFill]:
    """Returns for each map the fill of the host where it is fullest."""
    capacity = {(_host(s), _label(s, "map")): s.value for s in _of(samples, Metric.MAP_CAPACITY)}
    fills: dict[str, MapFill] = {}
    for sample in _of(samples, Metric.MAP_ENTRIES):
        name = _label(sample, "map")
        fill = MapFill(int(sample.value), int(capacity.get((_host(sample), name), 0)))
        if name not in fills or fill.entries * fills[name].capacity > fills[name].entries * fill.capacity:
            fills[name] = fill
    return fills


def _mismatches(samples: list[Sample]) -> tuple[Mismatch, ...]:
    """Returns the mismatches without evidence, which is only on the host."""

    def kind(sample: Sample) -> tuple[str, ...]:
        return _host(sample), *(_label(sample, name) for name in ("cgroup", "class", "confidence"))

    lost = {kind(s): int(s.value) for s in _of(samples, Metric.LOST_PAGES)}
    return tuple(
        Mismatch.of_no_page(
            _label_of(MismatchClass, s, "class"),
            _label_of(Confidence, s, "confidence"),
            charged_to=_label(s, "cgroup"),
            time=time.time(),
            count=int(s.value),
            lost_pages=lost.get(kind(s), 0),
            host=_host(s),
        )
        for s in sorted(_of(samples, Metric.MISMATCHES), key=lambda s: (_label(s, "confidence"), -s.value))
        if s.value
    )


def _unseen(samples: list[Sample]) -> dict[Unseen, str]:
    """What some hosts cannot show, on how many, and why not."""
    hosts: dict[Unseen, set[str]] = defaultdict(set)
    reasons: dict[Unseen, dict[str, None]] = defaultdict(dict)
    for sample in _of(samples, Metric.UNSEEN_INFO):
        what, reason = _label(sample, "what"), sample.labels.get("reason", "")
        which = Unseen(what) if what in list(Unseen) else Unseen.OTHER
        hosts[which].add(_host(sample))
        reasons[which][f"{what}: {reason}" if which is Unseen.OTHER else reason] = None
    return {
        which: f"not on {len(names)} of the hosts: {'; '.join([*reasons[which]][:_MOST_REASONS])}"
        for which, names in hosts.items()
    }
