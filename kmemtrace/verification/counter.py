"""Holds the verified cgroup's counter against what it consists of."""

import time

from kmemtrace.cgroups.drift import Counter, Traced, read_counter, reclaim_kernel_memory
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.workload import WorkloadCgroup
from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.verification import CounterReading, KernelReading
from kmemtrace.verification.scope import Own


def reconcile(
    hierarchy: MemoryHierarchy, cgroup: WorkloadCgroup, scope: Own, lag_seconds: float
) -> tuple[CounterReading | None, tuple[Mismatch, ...]]:
    """Reads the counter once all has drained, and the drift if there is one twice.

    Args:
        hierarchy: The hierarchy of the memory controller.
        cgroup: The command's cgroup.
        scope: Tells what the tracer knows of it.
        lag_seconds: Time between the readings: longer than the kernel's statistics lag behind.

    Returns:
        What the counter says, and the drift; (None, ()) where this kernel does not tell what its counter
        counts.
    """
    first = _read(hierarchy, cgroup, scope.own())
    if first is None:
        return None, ()
    if first.kernel is not None and not (first.kernel.is_explained or first.kernel.told_apart):
        reclaim_kernel_memory(cgroup.folder)
    if first.drifted or (first.kernel is not None and not first.kernel.is_explained):
        time.sleep(lag_seconds)
    own = scope.own()
    counter = _read(hierarchy, cgroup, own)
    if counter is None:
        return None, ()
    reading = CounterReading(counter.charged, counter.parts, counter.slack, _kernel(counter, own))
    return reading, ((_mismatch(counter, cgroup.path),) if first.drifted and counter.drifted else ())


def _read(hierarchy: MemoryHierarchy, cgroup: WorkloadCgroup, own: Snapshot) -> Counter | None:
    taken = sum(m.taken_pages for m in own.mismatches if m.uncharged_from and cgroup.has(m.uncharged_from))
    return read_counter(hierarchy, cgroup.folder, Traced(own.held_pages, own.lost_pages, taken))


def _kernel(counter: Counter, own: Snapshot) -> KernelReading | None:
    """Returns what is known of the kernel memory in the counter; None where that would say nothing.

    Where slab objects are not told apart, what is not explained says something only if pages may have been
    lost without being seen.
    """
    kernel = counter.kernel
    sees_losses = own.unseen.keys().isdisjoint((Unseen.LOST_UNCHARGE, Unseen.SIZE_MISMATCH))
    if kernel is None or (sees_losses and not kernel.told_apart):
        return None
    return KernelReading(kernel.charged, kernel.known, kernel.slack, kernel.told_apart)


def _mismatch(counter: Counter, path: str) -> Mismatch:
    parts = ", ".join(f"{name} {pages}" for name, pages in counter.parts.items())
    now = time.time()
    return Mismatch.of_no_page(
        MismatchClass.COUNTER_DRIFT,
        Confidence.CERTAIN,
        charged_to=path,
        time=now,
        first_time=now,
        lost_pages=max(0, counter.drift),
        taken_pages=max(0, -counter.drift),
        events=(
            (
                f"the cgroup's counter says {counter.charged} pages, its parts add up to "
                f"{counter.charged - counter.drift} ({parts}): {counter.drift:+} pages, where up to "
                f"{counter.slack} are what its CPUs may have charged ahead"
            ),
        ),
    )
