"""What is told of each cgroup that has series."""

from collections.abc import Callable, Mapping

from kmemtrace.cgroups.labels import Names, names
from kmemtrace.exporter.series import Series, Sums
from kmemtrace.exporter.told import Reader, Told
from kmemtrace.model.metric import Reading, Values
from kmemtrace.model.metrics import Metric
from kmemtrace.model.unseen import Unseen

_WHOLE = ("kernel", "unexplained")
"""What of Series.memory is no part."""
_NEEDS = {
    Metric.RECLAIM_STALL_SECONDS: Unseen.RECLAIM_BEGIN,
    Metric.RECLAIM_STALLS: Unseen.RECLAIM_BEGIN,
    Metric.CHARGES: Unseen.CHARGE,
    Metric.CHARGE_SECONDS: Unseen.CHARGE,
}
"""Without that event the count would be 0 for ever."""


Read = Callable[[Series], Values]
"""Of one series, which alone it follows from."""
SeriesReader = Callable[[Told], Read | None]
"""None: that cannot be seen."""


def _count(metric: Metric, at: int) -> SeriesReader:
    def reader(told: Told) -> Read | None:
        if _NEEDS.get(metric) in told.snapshot.unseen:
            return None
        return lambda series: [((series.cgroup,), series.sums[at])]

    return reader


def _held(told: Told) -> Read:
    size = told.snapshot.page_size
    return lambda s: [
        ((s.cgroup, state.value), pages * size) for state, pages in sorted(s.held_pages.items())
    ]


def _who(_: Told) -> Read:
    """A path that tells nothing has no series."""

    def read(series: Series) -> Values:
        who = names(series.path)
        labels = (series.cgroup, who.pod, who.runtime, who.container, who.unit)
        return [] if who == Names() else [(labels, 1)]

    return read


def _of_census(read: Read) -> SeriesReader:
    return lambda told: None if told.snapshot.census is None else read


def _whole(name: str) -> SeriesReader:
    return _of_census(lambda s: [((s.cgroup,), s.memory[name])] if name in s.memory else [])


def _parts(series: Series) -> Values:
    return [((series.cgroup, part), size) for part, size in series.memory.items() if part not in _WHOLE]


OF_SERIES: Mapping[Metric, SeriesReader] = {
    # Each sum of a series is the counter of that name.
    **{metric: _count(metric, at) for at, metric in enumerate(Metric[f.upper()] for f in Sums._fields)},
    Metric.HELD_BYTES: _held,
    Metric.CGROUP_INFO: _who,
    Metric.KERNEL_BYTES: _whole("kernel"),
    Metric.UNEXPLAINED_BYTES: _whole("unexplained"),
    Metric.ACCOUNT_BYTES: _of_census(_parts),
}


def _of_all(reader: SeriesReader) -> Reader:
    def all_of(told: Told) -> Reading:
        read = reader(told)
        return None if read is None else (value for one in told.counted.series for value in read(one))

    return all_of


READERS: Mapping[Metric, Reader] = {metric: _of_all(reader) for metric, reader in OF_SERIES.items()}
