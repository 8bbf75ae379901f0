"""Encodes the metrics by prometheus-client, and remembers the lines that it made.

Most cgroups do nothing between two scrapes, and most figures of those that do stay as they are: only a line
whose figure is another one is made anew. To make all of them took most of a scrape.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from kmemtrace.exporter.metrics import family, readings
from kmemtrace.exporter.told import Told
from kmemtrace.model.metric import Labels, Values
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
        self._lines: dict[Metric, dict[Labels, tuple[float, bytes]]] = {}
        """By metric that has series of cgroups: figures and lines of the page before."""

    def page(self, told: Told) -> bytes:
        """Returns what the format's encoder makes of the metrics, and of those of this process."""
        parts = []
        for metric, read in readings(told):
            if "cgroup" in metric.labels:
                parts.append(self._of_cgroups(metric, read))
            else:
                parts.append(self._encoded(Fixed([family(metric, read)])))
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        return b"".join([*parts, self._encode(registry)])

    def _of_cgroups(self, metric: Metric, read: Values) -> bytes:
        """Encodes a metric; in the text formats a line is a sample, as line ends in labels are escaped."""
        known = self._lines.get(metric, {})
        lines: dict[Labels, tuple[float, bytes]] = {}
        new: list[tuple[Labels, float]] = []
        for labels, value in read:
            line = known.get(labels)
            if line is None or line[0] != value:
                new.append((labels, value))
                line = (value, b"")
            lines[labels] = line
        described, typed, *made, _ = self._encoded(Fixed([family(metric, new)])).split(b"\n")
        for (labels, value), text in zip(new, made, strict=True):
            lines[labels] = (value, text)
        self._lines[metric] = lines
        return b"\n".join([described, typed, *(text for _, text in lines.values()), b""])

    def _encoded(self, metrics: Collector) -> bytes:
        registry = CollectorRegistry()
        registry.register(metrics)
        return self._encode(registry).removesuffix(_END)
