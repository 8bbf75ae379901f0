"""Makes readings of the maps, shared by all who scrape.

None is younger than a second when the next is made.
"""

import contextlib
import gc
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.exposition import choose_encoder

from kmemtrace.exporter.encoding import Encoder
from kmemtrace.exporter.journal import Journal
from kmemtrace.exporter.log import Log
from kmemtrace.exporter.series import MOST_BYTES, Selection
from kmemtrace.exporter.told import HookInfo, ProgramRuns, Told
from kmemtrace.model.snapshot import Snapshot

FRESH_SECONDS = 1.0
_GZIP_LEVEL = 4
"""Level of compression: a scrape of 1,000 cgroups shrinks to a 20th; higher levels take several times as long
for little."""


@dataclass(frozen=True, slots=True)
class Page:
    body: bytes
    content_type: str


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Turns the garbage collector off.

    A reading makes ten objects per cgroup and no cycles: looking for some in between took three quarters of a
    scrape of 3,000 cgroups.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Source:
    """Makes the readings; all methods may be called from several threads at once."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        hooks: tuple[HookInfo, ...],
        runs: Callable[[], tuple[ProgramRuns, ...] | None],
        most_cgroups: int,
        most_bytes: int = MOST_BYTES,
        log: Log | None = None,
    ) -> None:
        """Prepares to read; `read` makes a Snapshot, and is never called twice at a time."""
        self._read, self._hooks, self._runs = read, hooks, runs
        self._most, self._most_bytes = most_cgroups, most_bytes
        self._selection = Selection(most_cgroups, most_bytes)
        self._journal = Journal(log or Log())
        self._lock = threading.Lock()
        self._told: Told | None = None
        self._read_at = 0.0
        self._readings, self._seconds = 0, 0.0
        self.failing = False
        """Whether the last reading failed."""
        self._pages: dict[tuple[str, bool], Page] = {}
        self._encoders: dict[str, Encoder] = {}

    def told(self) -> Told:
        """Returns the last reading, or a new one where that is a second old."""
        with self._lock, _without_collector():
            return self._current()

    def page(self, accept: str, zipped: bool) -> Page:
        """Returns the metrics in the format that the header Accept asks for."""
        with self._lock, _without_collector():
            told = self._current()
            encode, content_type = choose_encoder(_known_formats(accept))
            if (content_type, zipped) not in self._pages:
                if content_type not in self._encoders:
                    self._encoders[content_type] = Encoder(encode)
                body = self._encoders[content_type].page(told)
                if zipped:
                    body = gzip.compress(body, _GZIP_LEVEL)
                self._pages[content_type, zipped] = Page(body, content_type)
            return self._pages[content_type, zipped]

    @property
    def age_seconds(self) -> float:
        """Seconds since the last reading; infinite before the first."""
        return time.monotonic() - self._read_at if self._readings else float("inf")

    def _current(self) -> Told:
        if self._told is None or self.age_seconds >= FRESH_SECONDS:
            begin = time.monotonic()
            try:
                snapshot = self._read()
            except Exception:
                self.failing = True
                raise
            counted = self._selection.update(snapshot)
            self._read_at = time.monotonic()
            self._readings += 1
            self.failing = False
            self._seconds += self._read_at - begin
            self._journal.tell(snapshot)
            self._told = Told(
                snapshot,
                counted,
                self._hooks,
                self._runs(),
                self._most,
                self._most_bytes,
                self._readings,
                self._seconds,
            )
            self._pages = {}
        return self._told


def _known_formats(accept: str) -> str:
    """Returns of what a header Accept asks for the one format in which the metrics are told.

    prometheus-client takes any version and repeats it, and whoever asks for ever new ones would have ever new
    pages made.
    """
    for one in accept.split(","):
        kind = one.partition(";")[0].strip()
        if kind == "application/openmetrics-text":
            return f"{kind}; version=1.0.0"
        if kind == "text/plain":
            break
    return ""
