"""Has what was read of the maps for one Snapshot, and arranges it by cgroup."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kmemtrace.tracer.maps import Records


@dataclass(frozen=True, slots=True)
class Reading:
    """The maps as read for one Snapshot; a pair is a map's keys and values."""

    clock: float
    """When the sums were read (kernel_seconds())."""
    time: float
    """When the sums were read, in seconds since the epoch."""
    lives: tuple[Records, Records]
    """Paths of the removed cgroups, by id."""
    pages: Records
    """Addresses of the struct pages that have a record: tracer/records.py."""
    charges: Records
    """Records of those pages, in the same order."""
    sites: tuple[Records, Records]
    """Sums by cgroup and stack."""
    cgroups: tuple[Records, Records]
    """Sums by cgroup id."""
    failures: tuple[Records, Records] | None
    """Failed charges by cgroup and errno; None where results are not seen."""


SiteRead = tuple[int, int, int, int]
"""Stack, pages charged, uncharged and lost."""


def of_cgroups(elements: tuple[Records, Records], ids: Records) -> tuple[Records, Records]:
    """Returns the elements of a map whose keys, ids or structs that have one, are of some cgroups."""
    keys, values = elements
    its = keys["cgroup"] if keys.dtype.names else keys
    chosen = np.isin(its, ids)
    return keys[chosen], values[chosen]


def sites_by_cgroup(sites: tuple[Records, Records]) -> dict[int, list[SiteRead]]:
    """Returns the sums of each call site, by cgroup id."""
    keys, values = sites
    columns = (keys["cgroup"], keys["stack"], values["charged"], values["uncharged"], values["lost"])
    mine: dict[int, list[SiteRead]] = defaultdict(list)
    for cgroup_id, *read in zip(*(column.tolist() for column in columns), strict=True):
        mine[cgroup_id].append((read[0], read[1], read[2], read[3]))
    return mine


def failures_by_cgroup(failures: tuple[Records, Records]) -> dict[int, dict[int, int]]:
    """Returns how many charges failed, by cgroup id and errno."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for key, count in zip(*failures, strict=True):
        found[int(key["cgroup"])][int(key["error"])] = int(count)
    return found


def oldest_by_cgroup(charges: Records) -> tuple[Records, Records]:
    """Returns by cgroup id when the oldest of its held pages was charged (ns, CLOCK_MONOTONIC)."""
    if len(charges) == 0:
        return np.zeros(0, "u8"), np.zeros(0, "u8")
    order = np.argsort(charges["cgroup"])
    owners = charges["cgroup"][order]
    begins = np.flatnonzero(np.diff(owners, prepend=owners[0] - np.uint64(1)))
    return owners[begins], np.minimum.reduceat(charges["time"][order], begins)
