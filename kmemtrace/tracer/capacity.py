"""Says how much the BPF maps can hold, and what that costs."""

import os
import resource
from dataclasses import dataclass

from kmemtrace.kernel.layout import Defines
from kmemtrace.model.histogram import BUCKETS, SHIFT

STACK_DEPTH = 20
STACK_SKIPS = 2
"""Innermost frames that are left out of stacks that are learned of: the program, and who runs it. Before 5.18
(ee2a098851bf) a stack that they are left out of is so many frames shorter than it could be."""
LIFE_PATH = 384
INSPECT_BATCH, INSPECT_BATCHES = 64, 1 << 9
ADOPT_BATCH = 512
FINDINGS_PAGES = 64
"""Pages of the ring buffer: room for some 3,000 findings between two snapshots."""
CACHE_NAME = 64
"""Bytes of a slab cache's name that are read."""
CACHES_AT_ONCE = 256
"""Slab caches that the programs remember between two snapshots."""
WALK_WORDS = 256
"""Words of the stack above the program's context in which its return addresses are looked for: a fork that
copies page tables has its last beyond the 128th."""
WALK_HOPS = 1 << 12
"""Buckets of what was learned of return addresses: some hundreds are met."""
WALK_WAYS = 2
"""Addresses in a bucket."""
WALK_RUN = 4
"""Addresses that are looked at together, where one always comes after the other."""
WALK_STACKS = 1 << 14
"""Most stacks that the kernel walked."""
WALK_PATHS = 2 * WALK_STACKS
"""The stacks' ids stand in as many bits, and 0 for none."""
WALK_ROUTES = 1 << 6
"""Paths that each CPU has at hand, by how deep in the stack they begin."""
ROUTE_WORDS = 32
"""A power of two, for STACK_DEPTH addresses and what they are rounded up by."""
WALK_CHECKS = 1 << 9
"""Of so many stacks that are known one is walked by the kernel, too."""
MIX = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, which spreads what is multiplied by it (Knuth)."""
LESSONS_PAGES = 128
"""Pages of the ring buffer: room for 250 lessons between two snapshots."""
LESSONS_EACH = 16
"""So many does each stack give that is not known, and then ever fewer: others need the room."""
RECORD_WAYS = 4
"""Records of pages in a bucket of their table."""
PLACES_OF_A_KEY = 2
"""Places for each key that there is room for sums of. Half of them taken, a key is in the second it may be
in, at the mean, and of 65,536 each found one."""
PLACES_TRIED = 32
"""Places that a key may be in: the one that its hash tells, and those after it."""
MAX_DEPARTURES = 1 << 10
"""How many cgroups that the processes of a verified command go to can be told."""
MAX_ORDER = 10
"""Highest order of the page allocator, in every kernel's default configuration."""

ENTRIES = (
    "MAX_PAGES",
    "MAX_CGROUPS",
    "MAX_SITES",
    "MAX_STACKS",
    "MAX_LIVES",
    "MAX_CALLS",
    "MAX_STALLED",
    "MAX_FAILURES",
    "MAX_MOVES",
    "MAX_DEPARTURES",
    "MAX_OBJECTS",
    "MAX_OBJECT_SITES",
    "MAX_BUCKETS",
    "MAX_CGROUP_PLACES",
    "MAX_SITE_PLACES",
    "INSPECT_BATCHES",
)
"""Constants that say how many entries a map has, and nothing else: no program knows them."""

_LEAST_PAGES, _MOST_PAGES = 1 << 16, 1 << 22
_LEAST_CGROUPS, _MOST_CGROUPS = 1 << 13, 1 << 16
_SITES_OF_A_CGROUP = 4

_HASH_ENTRY, _STACK_ENTRY = 64, 24
"""Bytes beside key and value, or addresses: struct htab_elem and a bucket; struct stack_map_bucket."""
_FILTERS, _SMALL_MAPS, _EACH_CPU = 3, 4 << 20, 52 << 10


@dataclass(frozen=True, slots=True)
class Capacity:
    """Entries of each map.

    All are allocated at the start: to allocate in the middle of the page allocator's own events would
    recurse.
    """

    page_frames: int
    """One more than the highest page frame: the filter has one bit for each."""
    pages: int
    """Charged pages (or blocks) that can be held at one time, about 100 bytes each."""
    cgroups: int = 1 << 13
    sites: int = 1 << 15
    stacks: int = WALK_STACKS
    lives: int = 1 << 13
    calls: int = 1 << 12
    """Charges and allocations under way at one time; each waiting task has one."""
    stalled: int = 1 << 12
    failures: int = 1 << 12
    moves: int = 1 << 12
    """Processes of which it is remembered when they changed cgroups; the last ones are kept."""

    @classmethod
    def of_machine(cls, page_frames: int, pages: int | None = None) -> "Capacity":
        """Returns the capacity for a machine.

        It is room for one charged page in 64 of the machine's, at 0.05 % of its memory, and for a cgroup in 2
        MiB, at 0.12 %.

        Args:
            page_frames: One more than the number of the machine's highest page frame.
            pages: Charged pages that can be held at one time, in place of that.
        """
        if pages is None:
            pages = within(page_frames // 64, _LEAST_PAGES, _MOST_PAGES)
        cgroups = within(page_frames // 512, _LEAST_CGROUPS, _MOST_CGROUPS)
        return cls(
            page_frames=page_frames,
            pages=pages,
            cgroups=cgroups,
            lives=cgroups,
            sites=cgroups * _SITES_OF_A_CGROUP,
        )

    @property
    def filtered_frames(self) -> int:
        """How many page frames have a bit of their own in the filters."""
        return power_of_two(self.page_frames)

    @property
    def map_bytes(self) -> int:
        """About how many bytes the maps take of the kernel's memory.

        That is with function probes; without, it is a fifth less.
        """
        of_hashes = ((self.pages, 48), (self.cgroups, 12), (self.lives, 8 + LIFE_PATH), (self.sites, 20))
        hashes = sum(entries * (_HASH_ENTRY + key_and_value) for entries, key_and_value in of_hashes)
        hashes += PLACES_OF_A_KEY * (self.cgroups * 656 + self.sites * 40)
        stacks = self.stacks * (_STACK_ENTRY + 8 * STACK_DEPTH)
        small = _SMALL_MAPS + _EACH_CPU * os.sysconf("SC_NPROCESSORS_CONF")
        return hashes + stacks + _FILTERS * self.filtered_frames // 8 + small

    def defines(self) -> Defines:
        return {
            "PAGE_INDEX_MASK": f"{self.filtered_frames - 1}U",
            "MAX_PAGES": self.pages,
            "MAX_CGROUPS": self.cgroups,
            "MIX": f"{MIX}ULL",
            "MAX_SITES": self.sites,
            "MAX_STACKS": self.stacks,
            "MAX_LIVES": self.lives,
            "MAX_CALLS": self.calls,
            "MAX_STALLED": self.stalled,
            "MAX_FAILURES": self.failures,
            "MAX_MOVES": self.moves,
            "MAX_DEPARTURES": MAX_DEPARTURES,
            "STACK_DEPTH": STACK_DEPTH,
            "MAX_ORDER": MAX_ORDER,
            "LIFE_PATH": LIFE_PATH,
            "INSPECT_BATCH": INSPECT_BATCH,
            "INSPECT_BATCHES": INSPECT_BATCHES,
            "ADOPT_BATCH": ADOPT_BATCH,
            "ADOPT_RECORDS": self.pages // 2,  # the rest is for what is charged from now on
            "FINDINGS_PAGES": FINDINGS_PAGES,
            "PAGE_SIZE": resource.getpagesize(),  # what BCC reckons a ring buffer's size in
            "HISTOGRAM_BUCKETS": BUCKETS,
            "HISTOGRAM_SHIFT": SHIFT,
        }


def within(wanted: int, least: int, most: int) -> int:
    """Returns the next power of two, between `least` and `most`."""
    return min(max(power_of_two(wanted), least), most)


def power_of_two(at_least: int) -> int:
    return 1 << max(0, at_least - 1).bit_length()
