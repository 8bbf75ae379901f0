"""Has the structs of probes/ as numpy reads them, all in this one place.

They are written twice, there and here; layouts.py holds the two against each other once they are compiled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmemtrace.model.histogram import BUCKETS
from kmemtrace.tracer.capacity import (
    ADOPT_BATCH,
    CACHE_NAME,
    CACHES_AT_ONCE,
    LIFE_PATH,
    RECORD_WAYS,
    WALK_RUN,
    WALK_WORDS,
)

ID = np.dtype("u8")

# probes/records.h
CHARGE = np.dtype(
    [
        ("objcg", "u8"),
        ("memcg", "u8"),
        ("cgroup", "u8"),
        ("time", "u8"),
        ("order", "u2"),
        ("flags", "u2"),
        ("stack", "i4"),
    ]
)
BUCKET = np.dtype([("page", "u8", (RECORD_WAYS,)), ("charge", CHARGE, (RECORD_WAYS,))])

# probes/sums.h
LATENCY = np.dtype([("ns", "u8"), ("counts", "u8", (BUCKETS,))])
SITE_KEY = np.dtype([("cgroup", "u8"), ("stack", "i4"), ("taken", "u4")])
SITE = np.dtype([(name, "u8") for name in ("charged", "uncharged", "lost")])


def totals_dtype(latencies: Sequence[str]) -> np.dtype[Any]:
    """Returns the layout of struct totals.

    Args:
        latencies: Names of the latencies that it ends with, which depend on what is compiled.
    """
    counts = ("charged", "uncharged", "lost", "before", "failed", "explicit")
    fields: list[tuple[str, Any]] = [(name, "u8") for name in counts]
    fields += [("kernel", "i8"), ("stalls", "u8"), ("stall_ns", "u8")]
    return np.dtype(fields + [(name, LATENCY) for name in latencies])


# probes/lives.h
LIFE = np.dtype([("path", f"S{LIFE_PATH}")])

# probes/functions.h
FAILURE_KEY = np.dtype([("cgroup", "u8"), ("error", "i4"), ("pad", "u4")])

# probes/walk.h
HOP = np.dtype(
    [
        ("address", "u8"),
        ("step", "u4"),
        ("next", "u4"),
        ("run", "u8", (WALK_RUN,)),
        ("at", "u2", (WALK_RUN,)),
        ("frames", "u2"),
        ("pad", "u2", (3,)),
    ]
)
LESSON = np.dtype([("stack", "i8"), ("root", "u8"), ("count", "u8"), ("words", "u8", (WALK_WORDS,))])

# probes/verdicts.h
FINDING = np.dtype(
    [
        ("head", "u8"),
        ("page", "u8"),
        ("time", "u8"),
        ("charge_time", "u8"),
        ("charged_to", "u8"),
        ("uncharged_from", "u8"),
        ("tgid", "u4"),
        ("alloc_stack", "i4"),
        ("free_stack", "i4"),
        ("lost", "u4"),
        ("taken", "u4"),
        ("order", "u2"),
        ("end_order", "u2"),
        ("flags", "u2"),
        ("what", "u1"),
        ("end", "u1"),
        ("interrupt", "u1"),
        ("pad", "u1", (3,)),
        ("comm", "S16"),
    ]
)

# What user space asks the programs for.
INSPECTION = np.dtype([(name, "u8") for name in ("page", "time", "cgroup", "unmarked", "counted_to")])
SEARCH = np.dtype([("next", "u8"), ("count", "u8"), ("found", "u8", (ADOPT_BATCH,))])
ADOPTION = np.dtype([("records", "u8"), ("refused", "u8")])

# probes/departures.h
DEPARTURE = np.dtype(
    [("processes", "u8"), ("tgid", "u4"), ("pad", "u4"), ("comm", "S16"), ("path", f"S{LIFE_PATH}")]
)

# probes/objects.h
OBJECT_KEY = np.dtype([("cgroup", "u8"), ("cache", "u8"), ("call_site", "u8")])
OBJECT = np.dtype([("key", OBJECT_KEY), ("objcg", "u8")])
OBJECT_SUMS = np.dtype([("charged", "u8"), ("freed", "u8"), ("failed", "u8")])
CACHES_KNOWN = np.dtype([("caches", "u8", (CACHES_AT_ONCE,))])
CACHE_TOLD = np.dtype([("size", "u8"), ("name", f"S{CACHE_NAME}")])
