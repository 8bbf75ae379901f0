"""Encodes the metrics by prometheus-client, and remembers the lines that it made.

Most cgroups do nothing between two scrapes, and their series are the same objects then; most figures of
those that do something stay as they are. Only lines of a series and metric with another figure are made anew.
To make all of them took most of a scrape.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from kmemtrace.exporter.by_cgroup import OF_SERIES, Read
from kmemtrace.exporter.metrics import family, readings
from kmemtrace.exporter.series import Series
from kmemtrace.exporter.told import Told
from kmemtrace.model.metric import Labels
from kmemtrace.model.metrics import Metric

Encode = Callable[[CollectorRegistry], bytes]
_END = b"# EOF\n"
"""The last line of one of the formats."""


class Fixed(Collector):
    """Holds metrics for prometheus-client, which collects from an object."""

    def __init__(self, metrics: Iterable[Family]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Family]:
        return self._metrics


class Encoder:
    """Encodes one page after the other in one format."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._series: dict[str, Series] = {}
        """Those of the page before, by label."""
        self._lines: dict[Metric, dict[str, bytes]] = {}
        """By metric, the lines of each of them."""

    def page(self, told: Told) -> bytes:
        """Returns what the format's encoder makes of the metrics, and of those of this process."""
        series = {one.cgroup: one for one in told.counted.series}
        # Where something fails in between, nothing is known any more.
        known, self._lines = self._lines, {}
        lines: dict[Metric, dict[str, bytes]] = {}
        changed = [label for label, one in series.items() if self._series.get(label) is not one]
        parts = []
        for metric, read in readings(told):
            of_one = OF_SERIES[metric](told) if metric in OF_SERIES else None
            if of_one is None:
                parts.append(self._encoded(metric, read))
            else:
                lines[metric] = known.get(metric, {})
                parts.append(self._of_series(metric, of_one, series, changed, lines[metric]))
        self._series, self._lines = series, lines
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        return b"".join([*parts, self._encode(registry)])

    def _of_series(
        self,
        metric: Metric,
        read: Read,
        series: Mapping[str, Series],
        changed: Iterable[str],
        found: dict[str, bytes],
    ) -> bytes:
        """Encodes a metric of series, whose lines `found` has in the end.

        In the text formats a line is a sample, as line ends in labels are escaped.

        Args:
            metric: The metric.
            read: What reads it of a series.
            series: All of them, in their order.
            changed: Labels of those that are not the same objects as on the page before.
            found: The lines of the page before, by label; changed.
        """
        before = self._series if found else {}
        new: dict[str, list[tuple[Labels, float]]] = {}
        for label in changed if found else series:
            values, old = list(read(series[label])), before.get(label)
            if old is None or values != list(read(old)):
                new[label] = values
        described, typed, *made, _ = self._encoded(metric, chain(*new.values())).split(b"\n")
        texts = iter(made)
        for label, values in new.items():
            found[label] = b"".join(text + b"\n" for text in islice(texts, len(values)))
        for label in before.keys() - series.keys():
            del found[label]
        return b"".join([described, b"\n", typed, b"\n", *(found[label] for label in series)])

    def _encoded(self, metric: Metric, read: Any) -> bytes:
        registry = CollectorRegistry()
        registry.register(Fixed([family(metric, read)]))
        return self._encode(registry).removesuffix(_END)
