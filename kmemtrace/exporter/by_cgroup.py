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


def _count(metric: Metric, at: int) -> Reader:
    def read(told: Told) -> Reading:
        if _NEEDS.get(metric) in told.snapshot.unseen:
            return None
        return [((series.cgroup,), series.sums[at]) for series in told.counted.series]

    return read


def _held(told: Told) -> Values:
    for one in told.counted.series:
        for state, pages in sorted(one.held_pages.items()):
            yield (one.cgroup, state.value), pages * told.snapshot.page_size


def _who(told: Told) -> Values:
    """A path that tells nothing has no series."""
    for one in told.counted.series:
        who = names(one.path)
        if who != Names():
            yield (one.cgroup, who.pod, who.runtime, who.container, who.unit), 1


def _of_census(read: Callable[[Series], Values]) -> Reader:
    def all_of(told: Told) -> Reading:
        if told.snapshot.census is None:
            return None
        return (value for series in told.counted.series for value in read(series))

    return all_of


def _whole(name: str) -> Reader:
    return _of_census(lambda s: [((s.cgroup,), s.memory[name])] if name in s.memory else [])


def _parts(series: Series) -> Values:
    return (((series.cgroup, part), size) for part, size in series.memory.items() if part not in _WHOLE)


READERS: Mapping[Metric, Reader] = {
    # Each sum of a series is the counter of that name.
    **{metric: _count(metric, at) for at, metric in enumerate(Metric[f.upper()] for f in Sums._fields)},
    Metric.HELD_BYTES: _held,
    Metric.CGROUP_INFO: _who,
    Metric.KERNEL_BYTES: _whole("kernel"),
    Metric.UNEXPLAINED_BYTES: _whole("unexplained"),
    Metric.ACCOUNT_BYTES: _of_census(_parts),
}
