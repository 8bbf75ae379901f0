"""Takes a Snapshot each interval, or a frame of a recording, in a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Taken = TypeVar("_Taken")


class Feed(Generic[_Taken]):
    """Calls `fresh` with each Snapshot of `source`, and `failed` when there will be no further one.

    Both are called in its own thread.
    """

    def __init__(
        self,
        source: Callable[[], _Taken],
        interval: float,
        fresh: Callable[[_Taken], object],
        failed: Callable[[], object],
    ) -> None:
        self._source, self._interval = source, interval
        self._fresh, self._failed = fresh, failed
        self._stopping, self._taken, self._woken = threading.Event(), threading.Event(), threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._read, name="snapshots")
        self.failure: Exception | None = None
        """The error that `source` raised, which ended the feed."""

    @property
    def interval(self) -> float:
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        """Sets the interval, also for the Snapshot that is waited for already."""
        self._interval = seconds
        self._woken.set()

    def start(self) -> None:
        self._thread.start()

    def want(self) -> None:
        """Has the next Snapshot be taken at once, when the last one was shown."""
        self._wanted.set()
        self._woken.set()

    def taken(self) -> None:
        """Says that the last Snapshot was shown.

        A view that its terminal held up wants the next frame then, not all that are past.
        """
        self._taken.set()
        self._woken.set()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()

    def join(self) -> None:
        """Stops the feed; when this returns, nothing reads the source any more."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _read(self) -> None:
        while not self._stopping.is_set():
            self._wanted.clear()
            try:
                snapshot = self._source()
            except Exception as error:  # noqa: BLE001 the view ends, and raises it
                self.failure = error
                self._failed()
                return
            self._taken.clear()
            self._fresh(snapshot)
            self._wait()

    def _wait(self) -> None:
        begin = time.monotonic()
        while not self._stopping.is_set():
            left = 0.0 if self._wanted.is_set() else begin + self._interval - time.monotonic()
            if left <= 0 and self._taken.is_set():
                return
            self._woken.wait(left if left > 0 else None)
            self._woken.clear()
