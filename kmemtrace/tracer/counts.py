"""Makes a cgroup of its records in the maps alone: its sums, call sites, latencies and failures."""

from collections.abc import Mapping
from errno import errorcode

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Site, added_sites
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.reading import SiteRead
from kmemtrace.tracer.sees import Sees
from kmemtrace.tracer.stacks import BEFORE_START, Stacks


class Counts:
    """Knows what the records mean on this kernel and in this tier."""

    def __init__(self, hierarchy: MemoryHierarchy, stacks: Stacks, sees: Sees) -> None:
        self._hierarchy, self._stacks, self._sees = hierarchy, stacks, sees

    def cgroup(
        self, number: int, totals: Records, sites: list[SiteRead], errors: Mapping[int, int]
    ) -> Cgroup:
        """Returns what the records tell; what only some kernels and tiers can fill is None on the others."""
        sees = self._sees
        return Cgroup(
            key=CgroupKey(self._hierarchy.hierarchy_id, number),
            path="",
            label=None,
            state=CgroupState.ONLINE,
            oldest_at=None,
            charged_pages=int(totals["charged"]),
            uncharged_pages=int(totals["uncharged"]),
            lost_pages=self._lost(int(totals["lost"])),
            preexisting_pages=int(totals["before"]),
            failed_charges=int(totals["failed"]),
            sites=added_sites(map(self._site, sites)),
            latency={name: histogram(totals[name]) for name in sees.latencies},
            kernel_pages_change=int(totals["kernel"]) if sees.kernel_total else None,
            reclaim_stalls=int(totals["stalls"]) if sees.reclaim else None,
            reclaim_stall_seconds=int(totals["stall_ns"]) / 1e9 if sees.reclaim else None,
            explicit_pages=int(totals["explicit"]) if sees.charge else None,
            failed_by_errno={errorcode.get(e, str(e)): n for e, n in errors.items()} if sees.charge else None,
        )

    def _site(self, read: SiteRead) -> Site:
        """Makes a call site of its sums; of a stack from before the start, what it has is preexisting."""
        stack_id, charged, uncharged, lost = read
        stack = self._stacks[stack_id]
        return Site(
            kind=stack.kind,
            symbol=stack.symbol,
            stack=stack.frames,
            charged_pages=0 if stack_id in BEFORE_START else charged,
            uncharged_pages=uncharged,
            lost_pages=self._lost(lost),
            preexisting_pages=charged if stack_id in BEFORE_START else 0,
        )

    def _lost(self, pages: int) -> int | None:
        """Returns the count of lost pages; None where there are none and they could not have been seen."""
        return pages if pages or self._sees.losses else None


def histogram(latency: Records) -> Histogram:
    """Makes a histogram of a struct latency."""
    return Histogram(tuple(latency["counts"].tolist()), int(latency["ns"]))
