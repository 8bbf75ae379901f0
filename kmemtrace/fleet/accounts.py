"""Makes the accounts of all hosts' cgroups from what their exporters tell of their last censuses."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmemtrace.fleet.prometheus import Sample
from kmemtrace.model.account import Account, CensusInfo
from kmemtrace.model.metrics import Metric
from kmemtrace.model.unseen import Unseen

HOST_METRICS = (
    Metric.CENSUS_SECONDS,
    Metric.CENSUS_AGE_SECONDS,
    Metric.DYING_CGROUPS,
    Metric.PINNED_BYTES,
)
CGROUP_METRICS = (Metric.KERNEL_BYTES, Metric.ACCOUNT_BYTES)
UNSEEN = {
    Unseen.CACHES: "a Prometheus server has slab caches by host only: run kmemtrace top on that host",
    Unseen.SOCKETS: "a Prometheus server is not told what sockets' buffers are charged",
}


class Place(NamedTuple):
    host: str
    path: str


def accounts(samples: Iterable[Sample]) -> dict[Place, Account]:
    """Returns the accounts of the cgroups that have one; which caches and page tables is not told."""
    kernel: dict[Place, int] = {}
    parts: dict[Place, dict[str, int]] = defaultdict(dict)
    for sample in samples:
        at = Place(sample.labels.get("instance", ""), sample.labels.get("cgroup", ""))
        if sample.name == str(Metric.KERNEL_BYTES):
            kernel[at] = int(sample.value)
        elif sample.name == str(Metric.ACCOUNT_BYTES):
            parts[at][sample.labels.get("part", "")] = int(sample.value)
    return {at: _account(kernel.get(at), of) for at, of in parts.items()}


def _account(kernel: int | None, parts: Mapping[str, int]) -> Account:
    return Account(
        kernel_bytes=kernel,
        pages_bytes=parts.get("pages", 0),
        page_tables_bytes=None,
        slab_bytes=parts.get("slab", 0),
        caches=(),
        percpu_bytes=parts.get("percpu"),
        zswap_bytes=parts.get("zswap"),
        ahead_bytes=parts.get("stock", 0),
        moved_bytes=0,
        doubtful_bytes=0,
    )


def census_of(samples: Iterable[Sample]) -> CensusInfo | None:
    """Makes one census of all hosts': the longest and the oldest, and sums; None where no host takes any."""
    values: dict[str, list[float]] = defaultdict(list)
    pinned: dict[str, int] = defaultdict(int)
    for sample in samples:
        values[sample.name].append(sample.value)
        if sample.name == str(Metric.PINNED_BYTES):
            pinned[sample.labels.get("part", "")] += int(sample.value)
    if not values[str(Metric.CENSUS_SECONDS)]:
        return None
    return CensusInfo(
        age_seconds=max(values[str(Metric.CENSUS_AGE_SECONDS)], default=0.0),
        seconds=max(values[str(Metric.CENSUS_SECONDS)]),
        cpu_seconds=None,
        objects=None,
        dying_cgroups=int(sum(values[str(Metric.DYING_CGROUPS)])),
        pinned=pinned,
        caches=(),
        unseen={},
    )


def without_census(hosts: Iterable[str], samples: Iterable[Sample]) -> dict[Unseen, str]:
    """Returns how many of the hosts have no census, as in Snapshot.unseen."""
    have = {s.labels.get("instance", "") for s in samples if s.name == str(Metric.CENSUS_SECONDS)}
    lack = set(hosts) - have
    return {Unseen.ACCOUNT: f"not on {len(lack)} of the hosts"} if lack else {}
