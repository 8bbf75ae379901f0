"""Makes the histograms of the whole machine: how long charges, pages and allocations took."""

from collections import defaultdict
from collections.abc import Mapping

from kmemtrace.exporter.told import HistogramReader, Told
from kmemtrace.model.histogram import BUCKETS, Histogram, upper_bound_seconds
from kmemtrace.model.metric import Labels
from kmemtrace.model.metrics import Metric

_EVERY, _FIRST, _LAST = 2, 0, 30
"""Which buckets are told: every second of the tracer's, up to 18 minutes. They are factors of four apart,
enough for a heat map and half of the series."""


def _of_machine(name: str) -> HistogramReader:
    def read(told: Told) -> list[tuple[Labels, Histogram]] | None:
        found = told.counted.latency.get(name)
        return None if found is None else [((), found)]

    return read


def _allocations(told: Told) -> list[tuple[Labels, Histogram]] | None:
    """Of all orders together."""
    if told.snapshot.allocations is None:
        return None
    sums: dict[bool, Histogram] = defaultdict(Histogram.empty)
    for one in told.snapshot.allocations:
        sums[one.accounted] = sums[one.accounted] + one.latency
    return [((str(accounted).lower(),), histogram) for accounted, histogram in sorted(sums.items())]


HISTOGRAMS: Mapping[Metric, HistogramReader] = {
    Metric.CHARGE_LATENCY_SECONDS: _of_machine("charge"),
    Metric.PAGE_LIFETIME_SECONDS: _of_machine("lifetime"),
    Metric.ALLOC_LATENCY_SECONDS: _allocations,
}


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Returns (upper bound in seconds, count up to it), cumulative, ending with +Inf."""
    told, seen = [], 0
    for at in range(BUCKETS):
        seen += histogram.counts[at]
        if _FIRST <= at <= _LAST and (at - _FIRST) % _EVERY == 0:
            told.append((repr(upper_bound_seconds(at)), float(seen)))
    return [*told, ("+Inf", float(seen))]
