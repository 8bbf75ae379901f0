"""The table of metrics (model/metrics.py), as prometheus-client takes it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from kmemtrace.exporter import by_cgroup, itself, mismatches, of_machine
from kmemtrace.exporter.caches import caches
from kmemtrace.exporter.latencies import HISTOGRAMS, buckets
from kmemtrace.exporter.told import Reader, Told
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.metric import Kind, Labels, Values
from kmemtrace.model.metrics import Metric

READERS: Mapping[Metric, Reader] = {
    **by_cgroup.READERS,
    **mismatches.READERS,
    **of_machine.READERS,
    **itself.READERS,
    Metric.SLAB_BYTES: caches,
}
"""The readers of the metrics that their rows do not read themselves; with HISTOGRAMS these are all."""


def readings(told: Told) -> Iterator[tuple[Metric, Any]]:
    """Yields the metrics in the table's order with what family() takes, without those that cannot be seen.

    Args:
        told: The Snapshot that the exporter tells, and what it knows beside it.
    """
    for metric in Metric:
        read: Any
        if metric.kind is Kind.HISTOGRAM:
            read = HISTOGRAMS[metric](told)
        else:
            read = READERS[metric](told) if metric.read is None else metric.read(told.snapshot)
        if read is not None:
            yield metric, read


def families(told: Told) -> Iterator[Family]:
    """Yields all that readings() does, as prometheus-client takes it."""
    return (family(metric, read) for metric, read in readings(told))


def family(metric: Metric, read: Any) -> Family:
    """Returns a metric as prometheus-client takes it, with what was read of it."""
    return (_histogram if metric.kind is Kind.HISTOGRAM else _numbers)(metric, read)


def _numbers(metric: Metric, read: Values | float) -> Family:
    made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = made(metric.family, metric.text, labels=metric.labels)
    for labels, value in read if isinstance(read, Iterable) else [((), read)]:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, read: Iterable[tuple[Labels, Histogram]]) -> Family:
    family = HistogramMetricFamily(metric.family, metric.text, labels=metric.labels)
    for labels, histogram in read:
        family.add_metric(labels, buckets(histogram), histogram.sum_ns / 1e9)
    return family
