"""The verified cgroup's counter, held against what it consists of."""

import time

from kmemtrace.cgroups.drift import Counter, read_counter
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.workload import WorkloadCgroup
from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.snapshot import Mismatch
from kmemtrace.model.verification import CounterReading
from kmemtrace.verification.scope import Own


def reconcile(
    hierarchy: MemoryHierarchy, cgroup: WorkloadCgroup, scope: Own, lag_seconds: float
) -> tuple[CounterReading | None, tuple[Mismatch, ...]]:
    """What the counter says once all has drained, and the drift if there is one twice, `lag_seconds`
    apart; (None, ()) where this kernel does not tell what its counter counts.

    :param lag_seconds: longer than the kernel's statistics lag behind.
    """
    first = read_counter(hierarchy, cgroup.folder, scope.own_held_pages())
    if first is None:
        return None, ()
    if first.drifted:
        time.sleep(lag_seconds)
    counter = read_counter(hierarchy, cgroup.folder, scope.own_held_pages())
    if counter is None:
        return None, ()
    reading = CounterReading(counter.charged, counter.parts, counter.slack)
    return reading, ((_mismatch(counter, cgroup.path),) if first.drifted and counter.drifted else ())


def _mismatch(counter: Counter, path: str) -> Mismatch:
    parts = ", ".join(f"{name} {pages}" for name, pages in counter.parts.items())
    now = time.time()
    return Mismatch.of_no_page(
        MismatchClass.COUNTER_DRIFT.label,
        Confidence.CERTAIN.value,
        charged_to=path,
        time=now,
        first_time=now,
        events=(
            (
                f"the cgroup's counter says {counter.charged} pages, its parts add up to "
                f"{counter.charged - counter.drift} ({parts}): {counter.drift:+} pages, where up to "
                f"{counter.slack} are what its CPUs may have charged ahead"
            ),
        ),
    )
