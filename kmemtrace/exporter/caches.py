"""Slab caches, as many of them as may have series."""

from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.series import OTHER
from kmemtrace.exporter.told import Told
from kmemtrace.model.metric import Reading, each

MOST_CACHES = 50
"""Slab caches with series of their own; a kernel has some 200, and modules add theirs."""


def caches(told: Told) -> Reading:
    """The largest; what is of all others is one series."""
    if told.snapshot.census is None:
        return None
    found: dict[str, int] = {}
    for use in told.snapshot.census.caches:
        name = label_of(use.cache)
        at = name if name in found or len(found) < MOST_CACHES else OTHER
        found[at] = found.get(at, 0) + use.bytes
    return each(found)
