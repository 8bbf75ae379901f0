"""What a scrape tells, before it is metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kmemtrace.exporter.series import Counted
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.metric import Labels, Reading
from kmemtrace.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class HookInfo:
    event: str
    hook: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class ProgramRuns:
    program: str
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """All that metrics are read off."""

    snapshot: Snapshot
    counted: Counted
    hooks: tuple[HookInfo, ...]
    runs: tuple[ProgramRuns, ...] | None
    """None where the kernel does not count them (kernel.bpf_stats_enabled)."""
    most_cgroups: int
    most_bytes: int
    """How many cgroups may have series of their own, and how many bytes these may take; so of mismatches."""
    readings: int
    reading_seconds: float
    """Time that all readings of the maps took together."""


Reader = Callable[[Told], Reading]
"""Of a metric that its row in the table cannot read off the Snapshot by itself."""
HistogramReader = Callable[[Told], Iterable[tuple[Labels, Histogram]] | None]
