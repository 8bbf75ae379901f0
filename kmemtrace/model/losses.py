"""What a tracer missed, and how full its maps are."""

from collections.abc import Mapping
from dataclasses import dataclass

ALLOC_PROGRAM = "page_alloc"
PAGE_PROGRAMS = frozenset(
    (
        ALLOC_PROGRAM,
        "page_free",
        "charge_entry",
        "charge_exit",
        "uncharge",
        "put_uncharge",
        "put_uncharge_batch",
        "split",
    )
)
"""The BPF programs that open, change and end records: only what they miss can explain a finding away."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What the tracer missed, and what it could mend of it, counted since the start.

    Each sum of several counts is defined here, once for all outputs. A count that is None is one that this
    kernel does not tell.
    """

    recursion_misses: Mapping[str, int] | None
    """By program, how often it was skipped because it was already running on that CPU (5.12+)."""
    map_full: Mapping[str, int]
    """By map, how many entries were refused because it was full."""
    ring_drops: int
    """Findings that were counted, and that there was no room for."""
    healed: int
    """Base pages whose free was missed, proved by their being handed out again."""
    swept: int
    """Base pages whose charge was found ended with no free event: they were taken out of kmem accounting in
    place (a pipe page stolen by splice), or their free was missed."""
    unmatched_frees: int
    """Frees of a page marked as tracked for which no record was found."""
    unknown_stacks: int
    """Stacks that were not recorded: no room for them, or none to be had."""
    unpaired: int = 0
    """Ends of charges whose begin was missed."""
    pages_busy: int = 0
    """Ends of records that could not be counted: the map was locked by what they interrupted, or of one block
    several records of its pages had been left open."""
    checked_stacks: int | None = None
    """Stacks that were told by what was learned of return addresses, and walked by the kernel as well: one in
    some hundred; None where it walks all."""
    wrong_stacks: int | None = None
    """Those of them that were another's, whose pages were counted at the wrong call site."""
    mended_objects: int | None = None
    """Slab objects whose free was not seen, as when many are freed at once; None where none are followed."""

    @property
    def refused_entries(self) -> int:
        """Entries that all maps together refused for want of room."""
        return sum(self.map_full.values())

    @property
    def missed_events(self) -> int:
        """Everything not seen, as far as the kernel tells: how far any figure can be relied upon."""
        skipped = sum((self.recursion_misses or {}).values())
        return skipped + self.refused_entries + self.ring_drops + self.unpaired + self.pages_busy

    @property
    def page_events_missed(self) -> int:
        """Events of pages that no program saw whole: what can explain a finding away.

        For each of them a record may be open, or missing, that should not be.
        """
        full = self.map_full.get("batches", 0)
        return self._page_programs_skipped + full + self.unpaired + self.pages_busy

    @property
    def allocations_missed(self) -> int:
        """Allocations among the events of pages that were missed.

        One that nobody was charged for leaves nothing behind, by which it could be found later.
        """
        return (self.recursion_misses or {}).get(ALLOC_PROGRAM, 0)

    @property
    def verdicts_missed(self) -> int:
        """What can have kept a mismatch from being found or shown.

        These are the events of pages that were missed, and the pages and findings that there was no room for.
        """
        full = sum(self.map_full.get(name, 0) for name in ("pages", "cgroups", "departures"))
        return self.page_events_missed + full + self.ring_drops

    @property
    def doubtful_pages(self) -> int:
        """By how many pages a count may be off: what was missed, and what was mended of it."""
        return self._page_programs_skipped + self.refused_entries + self.healed + self.swept

    @property
    def _page_programs_skipped(self) -> int:
        return sum(n for name, n in (self.recursion_misses or {}).items() if name in PAGE_PROGRAMS)


@dataclass(frozen=True, slots=True)
class MapFill:
    """How full a BPF map is."""

    entries: int
    capacity: int
