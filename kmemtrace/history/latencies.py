"""Reads how long charges and pages took, over time: histograms, by what they are of."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kmemtrace.history.counts import Counts, Detail, What
from kmemtrace.history.history import CGROUP, History, cgroup_key
from kmemtrace.model.histogram import BUCKETS

WHOLE = -1
"""Stands in place of a group of cgroups for allocations of the whole machine."""


def _counts(table: Any) -> list[Any]:
    lists = table["counts"].combine_chunks()
    found = np.zeros((len(lists), BUCKETS), np.int64)
    found[lists.is_valid().to_numpy(zero_copy_only=False)] = lists.flatten().to_numpy().reshape(-1, BUCKETS)
    return [found]


LATENCIES = What(
    "latencies",
    (*CGROUP, "measured", "accounted", "order"),
    ("counts",),
    _counts,
    counted=("counts",),
    width=BUCKETS,
)


def latencies(
    history: History, group_of: Mapping[str, int], told: Callable[[str], None]
) -> dict[str, dict[int, Any]]:
    """Returns for all that was measured, by group, the durations counted in each bin and bucket.

    Args:
        history: What was read of the recording.
        group_of: The number of the group that a cgroup's name is in.
        told: Is told what is being read.
    """
    names = history.name_of()
    places: dict[tuple[str, int], int] = {}

    def place(detail: Detail) -> int:
        if detail["id"] is None:
            of = "accounted" if detail["accounted"] else "not accounted"
            key = f"{detail['measured']}, {of}", WHOLE
        else:
            key = detail["measured"], group_of.get(names.get(cgroup_key(detail), ""), 0)
        return places.setdefault(key, len(places))

    counts = Counts(LATENCIES, place)
    stretches = history.timeline.stretches
    for number, _ in enumerate(counts.follow(stretches)):
        told(f"reading latencies, {number + 1:,} of {len(stretches):,} minutes")
    bins = len(history.timeline.bins)
    summed = counts.grouped("counts", np.arange(len(places)), len(places), bins)
    found: dict[str, dict[int, Any]] = {}
    for (measured, group), number in places.items():
        if summed[number].any():
            found.setdefault(measured, {})[group] = summed[number]
    return found
