"""Makes the histograms of the whole machine: how long charges, pages and allocations took."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily

from kmemtrace.model.histogram import BUCKETS, Histogram, upper_bound_seconds
from kmemtrace.model.snapshot import Allocations

_EVERY, _FIRST, _LAST = 2, 0, 30
"""Which buckets are told: every second of the tracer's, up to 18 minutes. They are factors of four apart,
enough for a heat map and half of the series."""


def latencies(
    of_machine: Mapping[str, Histogram], allocations: Sequence[Allocations] | None
) -> Iterator[Metric]:
    for name, metric, text in (
        ("charge", "charge_latency", "Time that a charge took."),
        ("lifetime", "page_lifetime", "Time from the charge of a block of pages to its end."),
    ):
        if name in of_machine:
            family = HistogramMetricFamily(f"kmemtrace_{metric}_seconds", text)
            _add(family, (), of_machine[name])
            yield family
    if allocations is not None:
        family = HistogramMetricFamily(
            "kmemtrace_alloc_latency_seconds",
            "Time inside the page allocator, of allocations with __GFP_ACCOUNT and of others.",
            labels=("accounted",),
        )
        sums: dict[bool, Histogram] = defaultdict(Histogram.empty)
        for one in allocations:
            sums[one.accounted] = sums[one.accounted] + one.latency
        for accounted, histogram in sorted(sums.items()):
            _add(family, (str(accounted).lower(),), histogram)
        yield family


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    family.add_metric(labels, buckets(histogram), histogram.sum_ns / 1e9)


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Returns (upper bound in seconds, count up to it), cumulative, ending with +Inf."""
    told, seen = [], 0
    for at in range(BUCKETS):
        seen += histogram.counts[at]
        if _FIRST <= at <= _LAST and (at - _FIRST) % _EVERY == 0:
            told.append((repr(upper_bound_seconds(at)), float(seen)))
    return [*told, ("+Inf", float(seen))]
