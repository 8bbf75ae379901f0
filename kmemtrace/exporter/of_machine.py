"""What is told of all cgroups of the machine together."""

from collections.abc import Mapping

from kmemtrace.exporter.told import Reader, Told
from kmemtrace.model.metric import Reading, each
from kmemtrace.model.metrics import Metric


def _site_bytes(told: Told) -> Reading:
    pages = told.counted.whole.site_pages
    return each({kind: held * told.snapshot.page_size for kind, held in pages.items()})


READERS: Mapping[Metric, Reader] = {
    Metric.SITE_HELD_BYTES: _site_bytes,
    Metric.DEAD_CGROUPS: lambda t: t.counted.whole.dead,
    Metric.DEAD_CGROUP_HELD_BYTES: lambda t: t.counted.whole.dead_pages * t.snapshot.page_size,
    Metric.CGROUPS: lambda t: t.counted.whole.charged,
}
