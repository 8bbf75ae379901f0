"""Says what the programs are compiled with: constants of the Plan, of the host, and of what the maps hold.

Whoever reads the maps reckons with the same.
"""

import platform

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.kernel.layout import Defines, kernel_version
from kmemtrace.kernel.plan import Plan
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.capacity import (
    LESSONS_EACH,
    LESSONS_PAGES,
    PLACES_OF_A_KEY,
    PLACES_TRIED,
    RECORD_WAYS,
    ROUTE_WORDS,
    STACK_SKIPS,
    WALK_CHECKS,
    WALK_HOPS,
    WALK_PATHS,
    WALK_ROUTES,
    WALK_RUN,
    WALK_STACKS,
    WALK_WAYS,
    WALK_WORDS,
    Capacity,
    power_of_two,
)
from kmemtrace.tracer.lessons import CHARGE_ROOT, END, REGISTERS, REGISTERS_CS, ROOT
from kmemtrace.tracer.spread import first_place

_OF_MAP = 4
"""The hash map beside the table of records has room for one page in so many. At four to a bucket a fifth of
them need it when the table is full, one in 28 when half of it is."""
_ROOM_FOR_CALLS = 2
"""Places for each call: one that finds its bucket full takes another's. When there are as many calls as
there is room for, one bucket in 19 is too full."""

_OF_WALK: Defines = {
    "WALK_WORDS": WALK_WORDS,
    "WALK_WAYS": WALK_WAYS,
    "WALK_RUN": WALK_RUN,
    "WALK_HOPS": WALK_HOPS,
    "WALK_PATHS": WALK_PATHS,
    "WALK_STACKS": WALK_STACKS,
    "WALK_ROUTES": WALK_ROUTES,
    "ROUTE_WORDS": ROUTE_WORDS,
    "WALK_CHECKS": WALK_CHECKS,
    "WALK_END": END,
    "WALK_REGISTERS": REGISTERS,
    "WALK_REGISTERS_CS": REGISTERS_CS,
    "WALK_ROOT": ROOT,
    "WALK_ROOT_AT": first_place(ROOT),
    "WALK_CHARGE_ROOT_AT": first_place(CHARGE_ROOT),
    "LESSONS_PAGES": LESSONS_PAGES,
    "LESSONS_EACH": LESSONS_EACH,
}


def constants(plan: Plan, tier: Tier, hierarchy: MemoryHierarchy, room: Capacity, *, sites: bool) -> Defines:
    """Returns all constants of the programs that trace.

    Args:
        plan: What this kernel lets us do.
        tier: How functions are probed.
        hierarchy: The cgroup hierarchy that memory is accounted by.
        room: How many entries each map has.
        sites: Whether call sites are recorded.
    """
    found = plan.defines | room.defines() | of_places(room) | _OF_WALK
    found |= kernel_version(platform.release())
    found |= {"STACK_SKIPS": stack_skips(tier), "MEMORY_HIERARCHY": hierarchy.hierarchy_id}
    if hierarchy.version == 1:
        found["CGROUP_V1"] = 1
    if not sites:
        found["WITHOUT_SITES"] = 1
    return found if plan.untabled is not None else found | of_table(room)


def stack_skips(tier: Tier) -> int:
    """Returns how many frames of a stack are ours; at a kprobe it begins at the function."""
    return 0 if tier is Tier.KPROBE else STACK_SKIPS


def of_table(room: Capacity) -> Defines:
    """Returns the constants of programs that have a table of records."""
    buckets = table_buckets(room)
    return {
        "RECORD_BUCKETS": buckets,
        "MAX_BUCKETS": buckets,
        "RECORD_WAYS": RECORD_WAYS,
        "MAX_PAGES": map_entries(room),
        "CALL_BUCKETS": power_of_two(_ROOM_FOR_CALLS * room.calls // RECORD_WAYS),
    }


def table_buckets(room: Capacity) -> int:
    """Returns how many buckets the table has for that many pages."""
    return max(2, power_of_two(-(-room.pages // RECORD_WAYS)))  # of one there is no bit to tell it by


def map_entries(room: Capacity) -> int:
    """Returns how many records the hash map beside the table has room for."""
    return max(1, room.pages // _OF_MAP)


def of_places(room: Capacity) -> Defines:
    """Returns the constants of programs that count in places of arrays."""
    cgroups, sites = room.cgroups * PLACES_OF_A_KEY, room.sites * PLACES_OF_A_KEY
    return {
        "CGROUP_PLACES": cgroups,
        "SITE_PLACES": sites,
        "MAX_CGROUP_PLACES": cgroups,
        "MAX_SITE_PLACES": sites,
        "PLACES_TRIED": PLACES_TRIED,
    }
