"""Which raw tracepoints tell of slab objects on each kernel generation, and what programs know of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from kmemtrace.census.direct_map import Maps
from kmemtrace.census.layout.page import page_layout
from kmemtrace.census.object_plan import with_objects
from kmemtrace.kernel.hooks import Hook, NoHook
from kmemtrace.kernel.object_hooks import OBJECT_HOOKS, ObjectEvent, object_hooks
from kmemtrace.kernel.plan import Plan
from kmemtrace.kernel.planning import make_plan
from kmemtrace.model.unseen import Unseen
from tests.unit.recorded import KERNELS, OBJECT_TRACEPOINTS, Recorded

E = ObjectEvent
_SLUB = {
    ("page", "obj_cgroups"): 56,
    ("page", "slab_cache"): 24,
    ("page", "counters"): 40,
    ("page", "compound_head"): 8,
    ("page", "compound_order"): 81,
    ("page", "_refcount"): 52,
    ("kmem_cache", "name"): 96,
    ("kmem_cache", "size"): 24,
    ("kmem_cache", "flags"): 8,
    ("kmem_cache", "oo"): 64,
    ("obj_cgroup", "memcg"): 16,
}


def kernel(release: str, tracepoints: str) -> Recorded:
    """5.10's types, with a release's tracepoints: what they tell of the cache is the question here."""
    old = KERNELS["5.10"]
    return dataclasses.replace(
        old,
        release=release,
        tracepoints={**old.tracepoints, **OBJECT_TRACEPOINTS[tracepoints]},
        fields={**old.fields, **_SLUB},
        enumerators={**old.enumerators, "PG_slab": 9},
    )


def planned(facts: Recorded, **more: Any) -> Plan:
    return with_objects(
        make_plan(facts), facts, 1 << 20, maps=lambda *_: Maps(0xEA << 56, 0x88 << 56), **more
    )


@pytest.mark.parametrize(
    ("tracepoints", "release", "gfp", "cache"),
    [
        ("5.10", "5.10.0-32-amd64", {E.ALLOC: 4, E.ALLOC_NODE: 4, E.KMALLOC: 4, E.KMALLOC_NODE: 4}, None),
        ("6.0", "6.0.19", {E.ALLOC: 5, E.ALLOC_NODE: 5, E.KMALLOC: 5, E.KMALLOC_NODE: 5}, 2),
        ("6.1", "6.1.0-50-amd64", {E.ALLOC: 3, E.KMALLOC: 4}, 2),
        ("6.1", "7.3.4+deb13-amd64", {E.ALLOC: 3, E.KMALLOC: 4}, 2),
    ],
)
def test_hooks_by_kernel(
    tracepoints: str, release: str, gfp: dict[ObjectEvent, int], cache: int | None
) -> None:
    hooks = object_hooks(kernel(release, tracepoints))
    found = {event: hook.arguments for event, hook in hooks.items() if isinstance(hook, Hook)}
    assert {event: at["gfp"] for event, at in found.items() if "gfp" in at} == gfp
    assert set(hooks) == {*gfp, E.FREE, E.KFREE}
    assert found[E.ALLOC].get("cache") == cache


def test_every_row_says_why_and_none_hides_another() -> None:
    assert all(hook.why and hook.since < hook.until for hook in OBJECT_HOOKS)
    known = {(hook.event, hook.prototype) for hook in OBJECT_HOOKS}
    assert len(known) == len(OBJECT_HOOKS)


def test_programs_are_attached_before_those_of_pages_and_frees_first() -> None:
    plan = planned(kernel("5.10.0-32-amd64", "5.10"))
    assert "in bulk" in plan.unseen[Unseen.OBJECTS_IN_BULK]
    names = list(plan.programs)
    assert names[:6] == [
        "object_free",
        "object_kfree",
        "object_alloc_node",
        "object_kmalloc_node",
        "object_alloc",
        "object_kmalloc",
    ]
    assert names[-1] == "page_alloc"


@pytest.mark.parametrize(
    ("tracepoints", "release", "told"), [("5.10", "5.10.0", False), ("6.1", "6.1.0", True)]
)
def test_programs_are_told_where_the_cache_is_or_that_it_is_not_told(
    tracepoints: str, release: str, told: bool
) -> None:
    constants = planned(kernel(release, tracepoints)).defines
    assert ("ARG_OBJECT_ALLOC_CACHE" in constants) == told
    assert ("ARG_OBJECT_ALLOC_BYTES" in constants) != told
    assert constants["OFF_SLAB_VECTOR"] == 56
    assert constants["SLAB_PAGE_BIT"] == 9
    assert constants["SLAB_ACCOUNT"] == 0x04000000


def test_nobody_pays_who_did_not_ask() -> None:
    plan = make_plan(kernel("6.1.0", "6.1"))
    assert not plan.follows_objects
    assert "object_alloc" not in plan.programs
    assert "objects" not in plan.unseen


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tracepoints": {**KERNELS["5.10"].tracepoints}}, "'object free'"),
        ({"fields": {**KERNELS["5.10"].fields, **{k: v for k, v in _SLUB.items() if k[1] != "oo"}}}, "SLUB"),
        ({"fields": {**KERNELS["5.10"].fields, ("kmem_cache", "oo"): 64}}, "page has no obj_cgroups"),
    ],
)
def test_where_objects_cannot_be_followed_it_is_said_why(change: dict[str, Any], why: str) -> None:
    plan = planned(dataclasses.replace(kernel("5.10.0", "5.10"), **change))
    assert why in plan.unseen[Unseen.OBJECTS]
    assert "object_alloc" not in plan.programs
    assert not plan.follows_objects


def test_a_changed_prototype_is_not_hooked() -> None:
    strange = {**OBJECT_TRACEPOINTS["6.1"], "kfree": ("void *", "long unsigned int")}
    hook = object_hooks(dataclasses.replace(kernel("7.9", "6.1"), tracepoints=strange))[E.KFREE]
    assert isinstance(hook, NoHook)
    assert "could be misread" in hook.reason


def test_how_many_are_followed_can_be_said() -> None:
    assert planned(kernel("6.1.0", "6.1")).defines["MAX_OBJECTS"] == 1 << 17
    assert planned(kernel("6.1.0", "6.1"), most=4099).defines["MAX_OBJECTS"] == 4099


def test_the_head_of_a_block_is_an_address_or_what_to_mask_with() -> None:
    head_of = page_layout(kernel("5.10.0", "5.10")).head_of
    pages = np.array([0xFFFFEA0000001000, 0xFFFFEA00000010C0, 0xFFFFEA00000010C0], "u8")
    words = np.array([0xDEAD000000000100, 0xFFFFEA0000001001, 0xFFFFFFFFFFFFFE01], "u8")
    assert head_of(pages, words).tolist() == [0xFFFFEA0000001000] * 3
