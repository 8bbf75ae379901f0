"""Takes censuses until each cgroup's count is explained, or certainly wrong."""

from collections.abc import Callable

from kmemtrace.model.audit import Audit, audit
from kmemtrace.model.census import Census
from kmemtrace.model.enums import Confidence

PAUSE_SECONDS = 2.5
"""Time between two readings: longer than the kernel's statistics lag behind, which is 2 s."""


def audited(take: Callable[[], Census], most: int, wait: Callable[[], bool]) -> Audit:
    """Takes censuses until no drift is left open, and audits them together.

    Args:
        take: Takes one census.
        most: Largest number of censuses to take.
        wait: Called between two censuses; no further one is taken where it returns False.

    Returns:
        What the audit of all censuses found.
    """
    readings: list[Census] = []
    while True:
        readings.append(take())
        found = audit(readings)
        open_ones = [one for one in found.drifts if one.confidence is not Confidence.CERTAIN]
        if not open_ones or len(readings) >= most or not wait():
            return found
