"""Defines the hook table of slab objects: raw tracepoints, a row per kernel generation, newest first."""

from collections.abc import Mapping
from enum import StrEnum

from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.hooks import GFP, INT, TEXT, Hook, Mechanism, NoHook, choose, tracepoint_row


class ObjectEvent(StrEnum):
    """What can happen to an object."""

    FREE = "object free"
    KFREE = "kfree"
    ALLOC_NODE = "object alloc on a node"
    KMALLOC_NODE = "kmalloc on a node"
    ALLOC = "object alloc"
    KMALLOC = "kmalloc"


PROGRAMS: Mapping[ObjectEvent, str] = {
    ObjectEvent.FREE: "object_free",
    ObjectEvent.KFREE: "object_kfree",
    ObjectEvent.ALLOC_NODE: "object_alloc_node",
    ObjectEvent.KMALLOC_NODE: "object_kmalloc_node",
    ObjectEvent.ALLOC: "object_alloc",
    ObjectEvent.KMALLOC: "object_kmalloc",
}
"""Programs by event, in the order of attaching: what opens a record comes last."""

_OBJECT, _CACHE, _SITE, _SIZE = "void *", "struct kmem_cache *", "long unsigned int", "size_t"
_UNTOLD = (_SITE, _OBJECT, _SIZE, _SIZE, GFP)
_TOLD = (_SITE, _OBJECT, _CACHE, _SIZE, _SIZE, GFP)
_UNTOLD_ARGS, _TOLD_ARGS = "call_site object - bytes gfp", "call_site object cache - bytes gfp"
_OLD = "does not tell the cache, which is found by the object's page"
_6_0 = "6.0: tells the cache, as whether it is accounted was to be shown (b347aa7b5747)"
_5_12, _V6_0, _V6_1 = (5, 12), (6, 0), (6, 1)


def _by_node(event: ObjectEvent, name: str) -> tuple[Hook, ...]:
    """Makes rows for the variants that took the node too, until one tracepoint served both."""
    return (
        tracepoint_row(event, name, (*_TOLD, INT), f"{_TOLD_ARGS} -", _6_0, since=_V6_0, until=_V6_1),
        tracepoint_row(event, name, (*_UNTOLD, INT), f"{_UNTOLD_ARGS} -", _OLD, until=_V6_0),
    )


OBJECT_HOOKS: tuple[Hook, ...] = (
    tracepoint_row(
        ObjectEvent.ALLOC,
        "kmem_cache_alloc",
        (_SITE, _OBJECT, _CACHE, GFP, INT),
        "call_site object cache gfp node",
        "6.1: one tracepoint for all nodes (11e9734bcb6a), which reads no sizes (2c1d697fb8ba)",
        since=_V6_1,
    ),
    tracepoint_row(ObjectEvent.ALLOC, "kmem_cache_alloc", _TOLD, _TOLD_ARGS, _6_0, since=_V6_0, until=_V6_1),
    tracepoint_row(ObjectEvent.ALLOC, "kmem_cache_alloc", _UNTOLD, _UNTOLD_ARGS, _OLD, until=_V6_0),
    *_by_node(ObjectEvent.ALLOC_NODE, "kmem_cache_alloc_node"),
    tracepoint_row(
        ObjectEvent.KMALLOC,
        "kmalloc",
        (_SITE, _OBJECT, _SIZE, _SIZE, GFP, INT),
        "call_site object - bytes gfp node",
        "6.1: one tracepoint for all nodes (11e9734bcb6a); the flags tell whether it is accounted "
        "(2c1d697fb8ba)",
        since=_V6_1,
    ),
    tracepoint_row(ObjectEvent.KMALLOC, "kmalloc", _TOLD, _TOLD_ARGS, _6_0, since=_V6_0, until=_V6_1),
    tracepoint_row(ObjectEvent.KMALLOC, "kmalloc", _UNTOLD, _UNTOLD_ARGS, _OLD, until=_V6_0),
    *_by_node(ObjectEvent.KMALLOC_NODE, "kmalloc_node"),
    tracepoint_row(
        ObjectEvent.FREE,
        "kmem_cache_free",
        (_SITE, _OBJECT, _CACHE),
        "- object -",
        "6.1: tells the cache itself (2c1d697fb8ba)",
        since=_V6_1,
    ),
    tracepoint_row(
        ObjectEvent.FREE,
        "kmem_cache_free",
        (_SITE, _OBJECT, TEXT),
        "- object -",
        "5.12: tells the cache's name (3544de8ee6e4)",
        since=_5_12,
        until=_V6_1,
    ),
    tracepoint_row(ObjectEvent.FREE, "kmem_cache_free", (_SITE, _OBJECT), "- object", "4.8", until=_5_12),
    tracepoint_row(ObjectEvent.KFREE, "kfree", (_SITE, _OBJECT), "- object", "unchanged since 4.8"),
)


def object_hooks(facts: Facts) -> dict[ObjectEvent, Hook | NoHook]:
    """Chooses the hooks for objects, in the order of attaching.

    Where one tracepoint serves all nodes, the variants by node are no events of their own.
    """
    found = {event: choose(event, Mechanism.RAW_TRACEPOINT, facts, OBJECT_HOOKS) for event in PROGRAMS}
    for plain, by_node in (
        (ObjectEvent.ALLOC, ObjectEvent.ALLOC_NODE),
        (ObjectEvent.KMALLOC, ObjectEvent.KMALLOC_NODE),
    ):
        hook = found[plain]
        if isinstance(hook, Hook) and "node" in hook.arguments:
            del found[by_node]
    return found
