"""Adds up what is told of all cgroups together, from one Snapshot to the next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kmemtrace.exporter.together import Total
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Cgroup


@dataclass(frozen=True, slots=True)
class Whole:
    """What all cgroups of a Snapshot come to."""

    site_pages: Mapping[str, int] = field(default_factory=dict)
    """Pages held, by the kind of what asked for them."""
    dead: int = 0
    """How many were removed and hold pages, and in the next field which."""
    dead_pages: int = 0
    charged: int = 0
    """To how many something was charged since the start, or refused."""


class Adding:
    """Adds cgroups up as they come, and takes off those that go."""

    def __init__(self) -> None:
        self._kinds = Total[str]()
        self._dead = self._dead_pages = self._charged = 0

    def add(self, cgroups: Iterable[Cgroup], times: int) -> None:
        """Adds these; with `times` -1 it takes them off."""
        for cgroup in cgroups:
            for site in cgroup.sites:
                self._kinds.add({site.kind.value: site.held_pages}, times)
            if cgroup.state is CgroupState.DEAD and cgroup.held_pages:
                self._dead += times
                self._dead_pages += times * cgroup.held_pages
            self._charged += times * bool(cgroup.charged_pages or cgroup.failed_charges)

    @property
    def whole(self) -> Whole:
        return Whole(self._kinds.sums(), self._dead, self._dead_pages, self._charged)
