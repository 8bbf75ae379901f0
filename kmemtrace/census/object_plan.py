"""Adds to a Plan what follows the objects of the slab, where that was asked for and can be done."""

import dataclasses
import resource
from collections.abc import Callable

from kmemtrace.census.direct_map import Maps, find_maps
from kmemtrace.census.layout.find import UnknownLayoutError, at
from kmemtrace.census.layout.page import PageLayout, page_layout
from kmemtrace.census.layout.slab import SlabLayout, slab_layout
from kmemtrace.census.memory import KernelMemory
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.hooks import Hook, NoHook
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.object_hooks import PROGRAMS, object_hooks
from kmemtrace.kernel.plan import Attachment, ObjectRoom, Plan, Probe
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.capacity import CACHE_NAME, CACHES_AT_ONCE, power_of_two, within
from kmemtrace.tracer.objects import OBJECT_BATCH

_IN_BULK = "objects that are charged in bulk, or after their allocation, only the census tells"

_LEAST, _MOST = 1 << 17, 1 << 21
_MOST_PAGES = 1 << 22
"""Most counters of records by page, of 4 bytes each: on machines of more than 16 GB some pages share one."""
_SITES = 1 << 15


def default_objects(page_frames: int) -> int:
    """Returns how many objects are followed by default: one for each 16 pages, at 0.2 % of the memory."""
    return within(page_frames // 16, _LEAST, _MOST)


def with_objects(
    plan: Plan,
    facts: Facts,
    page_frames: int,
    most: int | None = None,
    maps: Callable[[PageLayout, SlabLayout], Maps] | None = None,
) -> Plan:
    """Adds the programs for objects to a plan, or the reason why there are none.

    Args:
        plan: The plan of what traces pages.
        facts: What is known of the running kernel.
        page_frames: One more than the number of the machine's highest page frame.
        most: How many objects are followed at a time; None for default_objects().
        maps: Finds where memory and struct pages are mapped; None asks the running kernel.
    """
    if plan.tier is None:
        return plan
    hooks, refusal = object_hooks(facts), objects_refusal(facts)
    room = ObjectRoom(most or default_objects(page_frames), _SITES)
    if refusal is None:
        try:
            page, slab = page_layout(facts), slab_layout(facts)
            where = maps(page, slab) if maps else _maps(facts, page, slab, page_frames)
            constants = _layout(facts, page, slab, where) | _room(page_frames, room)
        except UnknownLayoutError as error:
            refusal = f"this kernel keeps its objects in a way that is not known: {error}"
        except CannotError as error:
            refusal = str(error)
    if refusal is not None:
        return dataclasses.replace(plan, more_unseen={**plan.more_unseen, Unseen.OBJECTS: refusal})
    probes = {
        PROGRAMS[event]: Probe(hook, Attachment.RAW_TRACEPOINT)
        for event, hook in hooks.items()
        if isinstance(hook, Hook)
    }
    unseen = {**plan.more_unseen, Unseen.OBJECTS_IN_BULK: _IN_BULK}
    return dataclasses.replace(
        plan,
        objects=room,
        more_unseen=unseen,
        programs={**probes, **plan.programs},
        defines=plan.defines | constants | _arguments(probes),
    )


def objects_refusal(facts: Facts) -> str | None:
    """Returns why objects cannot be followed, as far as that can be told before anything is loaded."""
    for event, hook in object_hooks(facts).items():
        if isinstance(hook, NoHook):
            return f"there is no hook for the event '{event}': {hook.reason}"
    # The other allocator, up to 6.7, begins a slab's objects elsewhere than at its page's.
    return None if facts.offset("kmem_cache", "oo") is not None else "the kernel's allocator is not SLUB"


def _maps(facts: Facts, page: PageLayout, slab: SlabLayout, page_frames: int) -> Maps:
    with KernelMemory(facts.release) as memory:
        return find_maps(memory, facts, page, slab, page_frames)


def _layout(facts: Facts, page: PageLayout, slab: SlabLayout, where: Maps) -> Defines:
    found: Defines = {
        "PAGE_MAP": f"{where.pages:#x}ULL",
        "DIRECT_MAP": f"{where.memory:#x}ULL",
        "OFF_PAGE_HEAD": page.head,
        "OFF_SLAB_VECTOR": page.vector,
        "SLAB_VECTOR_FLAGS": slab.vector_flags,
        "OFF_SLAB_CACHE": slab.cache,
        "OFF_SLAB_COUNTERS": slab.counters,
        "SLAB_ENTRY_SIZE": slab.entry_size,
        "OFF_ENTRY_OBJCG": slab.entry_objcg,
        "OFF_ENTRY_MEMCG": at(facts, "obj_cgroup", "memcg"),
        "OFF_CACHE_SIZE": slab.cache_size,
        "OFF_CACHE_FLAGS": slab.cache_flags,
        "OFF_CACHE_NAME": slab.cache_name,
        "SLAB_ACCOUNT": slab.account_flag,
    }
    if slab.stride_bit is not None:
        found["SLAB_STRIDE_BIT"] = slab.stride_bit
    if slab.in_objects_bit is not None:
        found["SLAB_IN_OBJECTS_BIT"] = slab.in_objects_bit
    if page.slab_type is not None:
        return found | {"OFF_PAGE_TYPE": page.type, "SLAB_PAGE_TYPE": page.slab_type}
    assert page.slab_bit is not None
    return found | {"SLAB_PAGE_BIT": page.slab_bit}


def _room(page_frames: int, room: ObjectRoom) -> Defines:
    page = resource.getpagesize()
    return {
        "WITH_OBJECTS": 1,
        "MAX_OBJECTS": room.objects,
        "MAX_OBJECT_SITES": room.sites,
        "OBJECT_PAGES": min(power_of_two(page_frames), _MOST_PAGES),
        "OBJECT_BATCH": OBJECT_BATCH,
        "CACHE_NAME": CACHE_NAME,
        "CACHES_KNOWN": CACHES_AT_ONCE,
        "FRAME_SHIFT": page.bit_length() - 1,
        "LARGEST_OBJECT": 2 * page,  # KMALLOC_MAX_CACHE_SIZE
    }


def _arguments(probes: dict[str, Probe]) -> Defines:
    return {
        f"ARG_{name.upper()}_{argument.upper()}": position
        for name, probe in probes.items()
        for argument, position in probe.hook.arguments.items()
    }
