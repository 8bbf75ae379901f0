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
    """What the tracer missed, and what it could mend. None: this kernel does not tell."""

    recursion_misses: Mapping[str, int] | None
    """By program: skipped because the program was already running on that CPU (5.12+)."""
    map_full: Mapping[str, int]
    """By map: entries refused."""
    ring_drops: int
    """Findings that were counted, and that there was no room for."""
    healed: int
    """Base pages whose free was missed, proved by their being handed out again."""
    swept: int
    """Base pages whose charge was found ended with no free event: taken out of kmem accounting
    in place (a pipe page stolen by splice), or a missed free."""
    unmatched_frees: int
    """Frees of a page marked as tracked for which no record was found."""
    unknown_stacks: int
    """Stacks that were not recorded: no room for them, or none to be had."""
    unpaired: int = 0
    """Ends of charges whose begin was missed."""
    pages_busy: int = 0
    """Ends of records that the kernel refused because the map was locked by what they interrupted."""
    mended_objects: int | None = None
    """Slab objects whose free was not seen, as when many are freed at once; None where none are followed."""

    @property
    def refused_entries(self) -> int:
        """Of all maps, for want of room."""
        return sum(self.map_full.values())

    @property
    def missed_events(self) -> int:
        """Everything not seen, as far as the kernel tells: how far any figure can be relied upon."""
        skipped = sum((self.recursion_misses or {}).values())
        return skipped + self.refused_entries + self.ring_drops + self.unpaired + self.pages_busy

    @property
    def page_events_missed(self) -> int:
        """Events of pages that no program saw whole, so that records are open, or missing, that should not
        be: what can explain a finding away."""
        full = self.map_full.get("batches", 0)
        return self._page_programs_skipped + full + self.unpaired + self.pages_busy

    @property
    def allocations_missed(self) -> int:
        """Of those, allocations. One that nobody was charged for leaves nothing behind."""
        return (self.recursion_misses or {}).get(ALLOC_PROGRAM, 0)

    @property
    def verdicts_missed(self) -> int:
        """What can have kept a mismatch from being found or shown: events of pages that were not seen, and
        pages and findings that there was no room for."""
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
