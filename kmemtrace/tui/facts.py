"""Tells what a row's columns have no room for."""

from collections import Counter
from collections.abc import Sequence

from kmemtrace import text
from kmemtrace.model.snapshot import Cgroup
from kmemtrace.printable import printable


def facts(cgroups: Sequence[Cgroup]) -> list[str]:
    """Tells what a row's columns have no room for; what did not happen, or is not seen, is left out."""
    errors: Counter[str] = Counter()
    for cgroup in cgroups:
        errors.update(cgroup.failed_by_errno or {})
    stalls = sum(c.reclaim_stalls or 0 for c in cgroups)
    stalled = sum(c.reclaim_stall_seconds or 0.0 for c in cgroups)
    explicit = sum(c.explicit_pages or 0 for c in cgroups)
    lost = sum(c.lost_pages or 0 for c in cgroups)
    heirs = {c.reparented_to for c in cgroups} - {None}
    return [
        *([f"{lost:,} pages lost, on its counter for good"] if lost else []),
        *(f"{count:,} charges failed with {name}" for name, count in errors.most_common()),
        *([f"{stalls:,} reclaim stalls, {text.duration(stalled)} in all"] if stalls else []),
        *([f"{explicit:,} pages charged outside the allocator"] if explicit else []),
        *(f"counted to {printable(str(heir))} since its removal" for heir in heirs),
    ]
