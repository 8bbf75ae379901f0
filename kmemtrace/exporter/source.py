"""Readings of the maps, shared by all who scrape: none is younger than a second when the next is made."""

import contextlib
import gc
import gzip
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kmemtrace.exporter.journal import Journal
from kmemtrace.exporter.metrics import HookInfo, ProgramRuns, Told, families
from kmemtrace.exporter.series import Selection
from kmemtrace.model.snapshot import Snapshot

FRESH_SECONDS = 1.0
_GZIP_LEVEL = 4
"""A scrape of 1,000 cgroups shrinks to a 20th; higher levels take several times as long for little."""


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    content_type: str


class Fixed(Collector):
    """prometheus-client collects from an object; ours is made anew for each reading."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A reading makes ten objects per cgroup and no cycles: looking for some in between took three
    quarters of a scrape of 3,000 cgroups."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Source:
    """All methods may be called from several threads at once."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        hooks: tuple[HookInfo, ...],
        runs: Callable[[], tuple[ProgramRuns, ...] | None],
        most_cgroups: int,
    ) -> None:
        """`read`: makes a Snapshot; never called twice at a time."""
        self._read, self._hooks, self._runs = read, hooks, runs
        self._most, self._selection = most_cgroups, Selection(most_cgroups)
        self._journal = Journal()
        self._lock = threading.Lock()
        self._told: Told | None = None
        self._read_at = 0.0
        self._readings, self._seconds = 0, 0.0
        self._pages: dict[tuple[str, bool], Page] = {}

    def told(self) -> Told:
        """The last reading, or a new one where that is a second old."""
        with self._lock, _without_collector():
            return self._current()

    def page(self, accept: str, zipped: bool) -> Page:
        """The metrics in the format that the header Accept asks for."""
        with self._lock, _without_collector():
            told = self._current()
            encode, content_type = choose_encoder(accept)
            if (content_type, zipped) not in self._pages:
                registry = CollectorRegistry()
                registry.register(Fixed(families(told)))
                ProcessCollector(registry=registry)
                body = encode(registry)
                if zipped:
                    body = gzip.compress(body, _GZIP_LEVEL)
                self._pages[content_type, zipped] = Page(body, content_type)
            return self._pages[content_type, zipped]

    @property
    def age_seconds(self) -> float:
        """Of the last reading; infinite before the first."""
        return time.monotonic() - self._read_at if self._readings else float("inf")

    def _current(self) -> Told:
        if self._told is None or self.age_seconds >= FRESH_SECONDS:
            begin = time.monotonic()
            snapshot = self._read()
            counted = self._selection.update(snapshot)
            self._read_at = time.monotonic()
            self._readings += 1
            self._seconds += self._read_at - begin
            self._journal.tell(snapshot)
            self._told = Told(
                snapshot, counted, self._hooks, self._runs(), self._most, self._readings, self._seconds
            )
            self._pages = {}
        return self._told
