"""The metrics of the census: what kernel memory is made of."""

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.series import OTHER, Series
from kmemtrace.model.account import CensusInfo

MOST_CACHES = 50
"""Slab caches with series of their own; a kernel has some 200, and modules add theirs."""
_WHOLE = ("kernel", "unexplained")


def memory(census: CensusInfo, series: Iterable[Series]) -> Iterator[Metric]:
    kernel = GaugeMetricFamily(
        "kmemtrace_kernel_bytes",
        "Kernel memory charged to the cgroup itself, without its children's, by the kernel's own count.",
        labels=("cgroup",),
    )
    unexplained = GaugeMetricFamily(
        "kmemtrace_unexplained_bytes",
        "Of it, what no page, object and area has; negative where they have more than was charged.",
        labels=("cgroup",),
    )
    parts = GaugeMetricFamily(
        "kmemtrace_account_bytes", "What the census found, by part.", labels=("cgroup", "part")
    )
    for one in series:
        for family, name in zip((kernel, unexplained), _WHOLE, strict=True):
            if name in one.memory:
                family.add_metric((one.cgroup,), one.memory[name])
        for part, size in one.memory.items():
            if part not in _WHOLE:
                parts.add_metric((one.cgroup, part), size)
    yield from (kernel, unexplained, parts, _slab(census))
    yield GaugeMetricFamily(
        "kmemtrace_dying_cgroups",
        "Removed cgroups that the kernel still has, whatever keeps them.",
        census.dying_cgroups,
    )
    pinned = GaugeMetricFamily(
        "kmemtrace_pinned_bytes",
        "Memory that is charged to them still: page cache (file), shared and anonymous memory, and kernel "
        "memory by part.",
        labels=("part",),
    )
    for part, size in census.pinned.items():
        pinned.add_metric((part,), size)
    yield pinned
    yield GaugeMetricFamily("kmemtrace_census_seconds", "Time that the last census took.", census.seconds)
    yield GaugeMetricFamily("kmemtrace_census_age_seconds", "Since its end.", census.age_seconds)


def _slab(census: CensusInfo) -> Metric:
    """The largest caches; what is of all others is one series."""
    found: dict[str, int] = {}
    for use in census.caches:
        name = label_of(use.cache)
        at = name if name in found or len(found) < MOST_CACHES else OTHER
        found[at] = found.get(at, 0) + use.bytes
    family = GaugeMetricFamily(
        "kmemtrace_slab_bytes", "Charged slab objects of the whole machine, by cache.", labels=("cache",)
    )
    for name, size in found.items():
        family.add_metric((name,), size)
    return family
