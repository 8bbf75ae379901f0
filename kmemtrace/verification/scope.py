"""Picks from a tracer's Snapshots what a command's verification is about."""

import dataclasses
from typing import TYPE_CHECKING

from kmemtrace.model.snapshot import Cgroup, CgroupKey, Gone, Snapshot

if TYPE_CHECKING:
    from kmemtrace.tracer.tracer import Tracer


class Own:
    """Takes all of it: the command's cgroup, and those below it, are all that is traced."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def snapshot(self) -> Snapshot:
        return self._tracer.snapshot()

    def own(self) -> Snapshot:
        """Returns a Snapshot of the command's cgroup and those below it alone."""
        return self.snapshot()


class Followed(Own):
    """Picks the cgroups that the command's processes were in, from Snapshots of the whole machine."""

    def __init__(self, tracer: "Tracer", path: str) -> None:
        """Picks by the path of the command's cgroup; all that is below it belongs to it."""
        super().__init__(tracer)
        self._path = path
        self._rows: dict[CgroupKey, Cgroup] = {}
        """Rows as of the last Snapshot that had them: one that is removed is in the sums of the machine
        later."""

    def snapshot(self) -> Snapshot:
        snapshot = self._tracer.snapshot()
        self._rows |= {row.key: row for row in snapshot.cgroups}
        went = self._tracer.departures()
        ids = {one.cgroup for one in went}
        rows = tuple(row for row in self._rows.values() if row.key.id in ids or self._is_own(row))
        names = {row.path for row in rows} | {one.path for one in went}
        # Of one without names it is not known that it is somebody else's.
        mismatches = tuple(
            m
            for m in snapshot.mismatches
            if names & (found := {m.charged_to, m.uncharged_from}) or found == {None}
        )
        return dataclasses.replace(snapshot, cgroups=rows, gone=Gone(), mismatches=mismatches)

    def own(self) -> Snapshot:
        snapshot = self.snapshot()
        return dataclasses.replace(snapshot, cgroups=tuple(filter(self._is_own, snapshot.cgroups)))

    def _is_own(self, row: Cgroup) -> bool:
        return row.path == self._path or row.path.startswith(f"{self._path}/")
