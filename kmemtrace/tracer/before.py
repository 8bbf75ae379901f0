"""Knows the pages that were charged before the start, and tells what of them is not known yet."""

from collections.abc import Mapping
from threading import Event

import numpy as np

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.facts import lowest_page_frame
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import ChargeFlag, MismatchClass
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.adoption import LOOKED_FOR, SEARCHING, Adoption
from kmemtrace.tracer.capacity import Capacity
from kmemtrace.tracer.ledger import View
from kmemtrace.tracer.maps import ArrayMap
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.reading import Reading
from kmemtrace.tracer.structs import ADOPTION, ID, SEARCH
from kmemtrace.tracer.sweep import Sweeper

_UNDER_WAY_SECONDS = 10.0
"""How long it takes at most from an uncharge's begin until its page's mark is gone: a microsecond, or longer
for a task that is preempted."""
_NO_ROOM = (
    "{pages:,} pages charged before the start have no room in the map of pages (half of it is for those): "
    "--max-pages gives more"
)


class PagesBefore:
    """Has the pages looked for, and looks at them once more when what was under way is over."""

    def __init__(self, programs: Programs, plan: Plan, capacity: Capacity) -> None:
        self._plan, self._frames = plan, range(lowest_page_frame(), capacity.page_frames)
        self._adopted = ArrayMap(programs.map_fd("adoptions"), ADOPTION)
        self._scanned = ArrayMap(programs.map_fd("scanned"), ID)
        self._adoption = None
        if plan.page_map is not None:
            self._adoption = Adoption(
                programs.fd,
                ArrayMap(programs.map_fd("page_map"), ID),
                ArrayMap(programs.map_fd("searches"), SEARCH),
                self._through,
                by=plan.page_map.by,
            )
        self.confirmed_at: float | None = None
        """When the pages that were found were looked at once more (kernel_seconds()); None before."""

    @property
    def searched_from(self) -> float | None:
        """When the search began (kernel_seconds()); None before, or where there is none."""
        return None if self._adoption is None else self._adoption.began

    def search(self, stop: Event) -> None:
        """Looks for the pages, where this kernel tells where its struct pages are.

        It is to be called once, from a thread of its own.

        Args:
            stop: Ends the search early when it is set.
        """
        if self._adoption is not None:
            self._adoption.run(self._frames, self._plan.page_struct_bytes, stop)

    def wait(self, seconds: float | None) -> None:
        """Waits until the search is over, or for so many seconds; None: however long it takes."""
        if self._adoption is not None:
            self._adoption.wait(seconds)

    def confirm(self, sweeper: Sweeper, reading: Reading) -> None:
        """Looks once more at the pages that the search found, when what was under way is over.

        A page that was being uncharged when it was found, whose program had run by then, bears no mark now,
        and no end of it will be seen. Its record is ended here.

        Args:
            sweeper: Ends the records of pages without their mark.
            reading: The maps as they were read last.
        """
        over = None if self._adoption is None else self._adoption.ended
        if self.confirmed_at is not None or over is None or kernel_seconds() < over + _UNDER_WAY_SECONDS:
            return
        before = (reading.charges["flags"] & ChargeFlag.BEFORE) != 0
        sweeper.sweep_unmarked(reading.pages[before], reading.charges[before])
        self.confirmed_at = kernel_seconds()

    def pages(self, view: View) -> int | None:
        """Returns how many pages there were; None until all have been looked for, or where they cannot be."""
        if self._adoption is None or self._adoption.ended is None:
            return None
        return view.gone.preexisting_pages + sum(cgroup.preexisting_pages for cgroup in view.cgroups)

    def unseen(self) -> dict[Unseen, str]:
        """Returns what is not known of the pages, and what cannot be judged for it, with the reasons."""
        adoption = self._adoption
        if adoption is None:
            return {}
        if adoption.ended is not None:
            refused = int(self._adopted[0]["refused"][0])
            return {Unseen.PREEXISTING: _NO_ROOM.format(pages=refused)} if refused else {}
        found = {Unseen.PREEXISTING: adoption.failure or LOOKED_FOR}
        if self._judges_stray:
            found[Unseen.STRAY_UNCHARGE] = adoption.failure or SEARCHING
        return found

    def unjudged_seconds(self, began: float) -> Mapping[MismatchClass, float]:
        """Returns for how many seconds no stray uncharge could be told from one of a page from before.

        Args:
            began: When tracing began (kernel_seconds()).

        Returns:
            The seconds under the class of stray uncharges; nothing where those are not judged at all.
        """
        if self._adoption is None or not self._judges_stray:
            return {}
        until = kernel_seconds() if self._adoption.ended is None else self._adoption.ended
        return {MismatchClass.STRAY_UNCHARGE: max(0.0, until - began)}

    @property
    def _judges_stray(self) -> bool:
        return MismatchClass.STRAY_UNCHARGE not in self._plan.unjudged

    def _through(self) -> None:
        """Tells the programs that all pages from before the start are known."""
        self._scanned[0] = np.ones(1, "u8")
