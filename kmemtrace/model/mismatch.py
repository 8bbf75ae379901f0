"""A charge or uncharge that broke the promise, with its evidence."""

from dataclasses import dataclass
from typing import Any

from kmemtrace.model.enums import Confidence, MismatchClass


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Charges or uncharges that broke the promise in the same way, at the same places; the evidence is
    that of the last one."""

    mismatch_class: MismatchClass
    confidence: Confidence
    page: int
    """Address of the first struct page charged, or of that which should have been, or was uncharged without
    a charge; 0 where it is no page's (counter_drift)."""
    order: int
    """As charged."""
    charged_to: str | None
    """Path of the cgroup; None where none was charged, or its name is not known."""
    uncharged_from: str | None
    """None where nothing was uncharged."""
    alloc_stack: tuple[str, ...]
    free_stack: tuple[str, ...]
    """Of the free or uncharge that showed it; empty where it was found otherwise."""
    comm: str
    """The process that was running then."""
    pid: int
    time: float
    """Seconds since the epoch, of the last one."""
    first_time: float = 0.0
    count: int = 1
    missed_events: int = 0
    """Events missed at the time, which could explain it: 0 when it is certain."""
    events: tuple[str, ...] = ()
    """What was seen of the page, in its order."""
    charged_pages: int = 0
    """From `page` on, that were charged; 0 where no charge was seen."""
    ended_page: int | None = None
    """Address of the first struct page of what was uncharged, freed or charged anew; None where there was no
    such event."""
    ended_pages: int | None = None
    """From there on, by that event."""
    lost_pages: int = 0
    """What all of them cost: pages that stay on the counter of `charged_to` for good."""
    taken_pages: int = 0
    """And pages that went off the counter of `uncharged_from` without having been charged to it."""
    host: str | None = None
    """As a cgroup's."""

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal of those that are counted as one: broken in the same way, at the same places."""
        return (
            self.mismatch_class,
            self.confidence,
            self.charged_to,
            self.uncharged_from,
            self.alloc_stack,
            self.free_stack,
        )

    @classmethod
    def of_no_page(
        cls,
        mismatch_class: MismatchClass,
        confidence: Confidence,
        charged_to: str,
        time: float,
        **more: Any,
    ) -> "Mismatch":
        """One that is known by its sums alone: without a page, stacks and a process."""
        nothing: dict[str, Any] = {"page": 0, "order": 0, "uncharged_from": None, "comm": "", "pid": 0}
        nothing |= {"alloc_stack": (), "free_stack": ()}
        return cls(mismatch_class, confidence, charged_to=charged_to, time=time, **(nothing | more))
