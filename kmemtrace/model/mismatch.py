"""Defines what is told of a charge or uncharge that broke the promise, with its evidence."""

from dataclasses import dataclass
from typing import Any

from kmemtrace.model.enums import Confidence, MismatchClass


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Charges or uncharges that broke the promise in the same way, at the same places.

    The evidence is that of the last one.
    """

    mismatch_class: MismatchClass
    confidence: Confidence
    page: int
    """Address of the first struct page charged, or of that which should have been, or was uncharged without
    a charge; 0 where it is no page's (counter_drift)."""
    order: int
    """Order of the block as it was charged: two to its power base pages."""
    charged_to: str | None
    """Path of the cgroup that was charged; None where none was, or its name is not known."""
    uncharged_from: str | None
    """Path of the cgroup that was uncharged; None where none was, or its name is not known."""
    alloc_stack: tuple[str, ...]
    """Frames of the allocation, innermost first; empty where they are not known."""
    free_stack: tuple[str, ...]
    """Frames of the free or uncharge that showed it; empty where it was found otherwise."""
    comm: str
    """Name of the process that was running then, whose id is `pid`."""
    pid: int
    time: float
    """When the last one was found, in seconds since the epoch."""
    first_time: float = 0.0
    """When the first one was found, in seconds since the epoch."""
    count: int = 1
    """How many there were."""
    missed_events: int = 0
    """How many events were missed at the time that could explain the last one; 0 when it is certain."""
    events: tuple[str, ...] = ()
    """What was seen of the page, in words, in the order that it happened."""
    charged_pages: int = 0
    """Base pages that were charged, from `page` on; 0 where no charge was seen."""
    ended_page: int | None = None
    """Address of the first struct page of what was uncharged, freed or charged anew; None where there was no
    such event."""
    ended_pages: int | None = None
    """Base pages that were uncharged, freed or charged anew, from `ended_page` on; None where there was no
    such event."""
    lost_pages: int = 0
    """Base pages that all of them left on the counter of `charged_to` for good."""
    taken_pages: int = 0
    """Base pages that all of them took off the counter of `uncharged_from` without having been charged to
    it."""
    host: str | None = None
    """Host that it was found on, if the Snapshot is of several (Snapshot.hosts)."""

    @property
    def kind(self) -> tuple[object, ...]:
        """Key that is equal of those that are counted as one: broken in the same way, at the same places."""
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
        """Makes one that is known by its sums alone, without a page, stacks and a process.

        Args:
            mismatch_class: How the promise was broken.
            confidence: How sure that is.
            charged_to: Path of the cgroup.
            time: When it was found, in seconds since the epoch.
            **more: Other fields of a Mismatch, by name.
        """
        nothing: dict[str, Any] = {"page": 0, "order": 0, "uncharged_from": None, "comm": "", "pid": 0}
        nothing |= {"alloc_stack": (), "free_stack": ()}
        return cls(mismatch_class, confidence, charged_to=charged_to, time=time, **(nothing | more))
