"""What the exporter tells of its tracer that is in no Snapshot."""

from collections.abc import Mapping

from kmemtrace import __version__
from kmemtrace.exporter.told import Reader, Told
from kmemtrace.model.metric import Reading
from kmemtrace.model.metrics import Metric


def _runs(told: Told) -> Reading:
    return None if told.runs is None else [((one.program,), one.runs) for one in told.runs]


def _run_seconds(told: Told) -> Reading:
    return None if told.runs is None else [((one.program,), one.seconds) for one in told.runs]


READERS: Mapping[Metric, Reader] = {
    Metric.PROGRAM_RUNS: _runs,
    Metric.PROGRAM_RUN_SECONDS: _run_seconds,
    Metric.READINGS: lambda t: t.readings,
    Metric.READING_SECONDS: lambda t: t.reading_seconds,
    Metric.HOOK_INFO: lambda t: [((h.event, h.hook, h.mechanism), 1) for h in t.hooks],
    Metric.BUILD_INFO: lambda t: [((__version__, t.snapshot.tier.value, t.snapshot.kernel), 1)],
}
