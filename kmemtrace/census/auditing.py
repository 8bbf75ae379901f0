"""Censuses until each cgroup's count is explained, or certainly wrong."""

from collections.abc import Callable

from kmemtrace.model.audit import Audit, audit
from kmemtrace.model.census import Census
from kmemtrace.model.enums import Confidence

PAUSE_SECONDS = 2.5
"""Between readings: longer than the kernel's statistics lag (2 s)."""


def audited(take: Callable[[], Census], most: int, wait: Callable[[], bool]) -> Audit:
    """Takes up to `most` censuses; between two it waits, and ends where that answers false."""
    readings: list[Census] = []
    while True:
        readings.append(take())
        found = audit(readings)
        open_ones = [one for one in found.drifts if one.confidence is not Confidence.CERTAIN]
        if not open_ones or len(readings) >= most or not wait():
            return found
