"""Puts a Snapshot together again from a State: the way back from state.py.

What comes back differs in this alone: cgroups stand in the order of their keys; call sites, caches and
objects stand most first, and those that differ in nothing are one; `oldest_at` is right to what
a difference of two times rounds; `old`, which only `leaks` asks for, is None.
"""

from collections import defaultdict
from typing import Any

from kmemtrace.model.account import Account, CacheUse, CensusInfo
from kmemtrace.model.enums import CgroupState, Confidence, Exemption, MismatchClass, SiteKind, Tier
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.losses import Losses, MapFill
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.objects import ObjectSite, added_objects
from kmemtrace.model.snapshot import Allocations, Cgroup, CgroupKey, Gone, Site, Snapshot, added_sites
from kmemtrace.model.unseen import Unseen
from kmemtrace.recording.schema import BY_NAME
from kmemtrace.recording.state import (
    ACCOUNT,
    CGROUP,
    FINDING,
    FOLLOWS_OBJECTS,
    GONE,
    MACHINE,
    OBJECT,
    OF_ALL,
    OF_PARTS,
    SITE,
    Key,
    Stacks,
    State,
    Values,
)

_MOMENT = tuple(column.name for column in BY_NAME["snapshots"].values)
_OF_CGROUP = len(MACHINE)
"""How many values at the begin of a key tell the cgroup."""


def snapshot_of(state: State, time: float, stacks: Stacks) -> Snapshot:
    """Returns the Snapshot that a State is of.

    Args:
        state: The State.
        time: Seconds since the epoch.
        stacks: Frames of the stacks that it names.

    Raises:
        KeyError: A table, or a stack that is named, is missing.
        ValueError: A value is none that this version knows.
    """
    told = dict(zip(_MOMENT, state["snapshots"][()], strict=True))
    by_cgroup = _Parts(state, stacks)
    allocations = tuple(
        Allocations(key[-2], key[-1], one) for key, one in by_cgroup.latencies[MACHINE].items()
    )
    return Snapshot(
        time=time,
        **{name: told[name] for name in ("host", "kernel", "watched_seconds", "page_size", "hosts")},
        **{name: told[name] for name in ("preexisting_pages", "own_bytes", "charge_share")},
        tier=Tier(told["tier"]),
        cgroups=tuple(
            _cgroup(key, values, by_cgroup) for key, values in sorted(state["cgroups"].items(), key=_in_order)
        ),
        losses=losses_of(state),
        maps={name: MapFill(*fill) for (name,), fill in state["maps"].items()},
        gone=Gone(**{name: told[f"gone_{name}"] for name in GONE}),
        mismatches=mismatches_of(state, stacks),
        exempt={Exemption(name): count for name, count in told["exempt"]},
        allocations=allocations if told["times_allocations"] else None,
        unseen=_unseen(told["unseen"]),
        unjudged_seconds={MismatchClass(name): seconds for name, seconds in told["unjudged_seconds"]},
        census=_census(told, by_cgroup.caches[MACHINE]),
    )


class _Parts:
    """Holds what belongs to cgroups, by their keys."""

    def __init__(self, state: State, stacks: Stacks) -> None:
        self.sites: dict[Key, list[Site]] = defaultdict(list)
        self.caches: dict[Key, list[CacheUse]] = defaultdict(list)
        self.objects: dict[Key, list[ObjectSite]] = defaultdict(list)
        self.latencies: dict[Key, dict[Key, Histogram]] = defaultdict(dict)
        for (*cgroup, kind, symbol, stack), values in state["sites"].items():
            frames = () if stack is None else stacks[stack]
            counts = dict(zip(SITE, values, strict=True))
            self.sites[tuple(cgroup)].append(Site(SiteKind(kind), symbol, frames, **counts))
        for (*cgroup, cache, reclaimable), (objects, size) in state["caches"].items():
            self.caches[tuple(cgroup)].append(CacheUse(cache, objects, size, reclaimable))
        for (*cgroup, cache, site, size), values in state["objects"].items():
            counts = dict(zip(OBJECT, values, strict=True))
            self.objects[tuple(cgroup)].append(ObjectSite(cache, site, **counts, object_bytes=size))
        for key, (sum_ns, counted) in state["latencies"].items():
            self.latencies[key[:_OF_CGROUP]][key[_OF_CGROUP:]] = Histogram(counted, sum_ns)


def _in_order(item: tuple[Key, Values]) -> Key:
    host, *key = item[0]
    return host or "", *key


def _cgroup(key: Key, values: Values, parts: _Parts) -> Cgroup:
    told: dict[str, Any] = dict(zip(CGROUP, values, strict=False))
    account = dict(zip(ACCOUNT, values[FOLLOWS_OBJECTS + 1 :], strict=True))
    if told["failed_by_errno"] is not None:
        told["failed_by_errno"] = dict(told["failed_by_errno"])
    told["mismatches"] = {MismatchClass(name): count for name, count in told["mismatches"]}
    told["state"] = CgroupState(told["state"])
    host, hierarchy, number = key
    return Cgroup(
        key=CgroupKey(hierarchy, number),
        host=host,
        sites=added_sites(parts.sites[key]),
        latency={measured: one for (measured, *_), one in parts.latencies[key].items()},
        account=None
        if account["pages_bytes"] is None
        else Account(**account, caches=_most_bytes(parts.caches[key])),
        objects=added_objects(parts.objects[key]) if values[FOLLOWS_OBJECTS] else None,
        **told,
    )


def _most_bytes(uses: list[CacheUse]) -> tuple[CacheUse, ...]:
    return tuple(sorted(uses, key=lambda use: (-use.bytes, use.cache, use.reclaimable)))


def _census(told: dict[str, Any], caches: list[CacheUse]) -> CensusInfo | None:
    if told["census_age_seconds"] is None:
        return None
    names = ("age_seconds", "seconds", "cpu_seconds", "objects", "dying_cgroups")
    return CensusInfo(
        **{name: told[f"census_{name}"] for name in names},
        pinned=dict(told["census_pinned"]),
        caches=_most_bytes(caches),
        unseen=_unseen(told["census_unseen"]),
    )


def _unseen(items: Values) -> dict[Unseen, str]:
    return {Unseen(name): why for name, why in items}


def mismatches_of(state: State, stacks: Stacks) -> tuple[Mismatch, ...]:
    """Returns the mismatches that a State has, in their order."""
    return tuple(_mismatch(values, stacks) for _, values in sorted(state["findings"].items()))


def _mismatch(values: Values, stacks: Stacks) -> Mismatch:
    told = dict(zip(FINDING, values, strict=True))
    told["mismatch_class"] = MismatchClass(told["mismatch_class"])
    told["confidence"] = Confidence(told["confidence"])
    for name in ("alloc_stack", "free_stack"):
        told[name] = () if told[name] is None else stacks[told[name]]
    return Mismatch(**told)


def losses_of(state: State) -> Losses:
    """Returns the losses that a State tells."""
    told: dict[str, Any] = {}
    for (name, part), (count,) in state["losses"].items():
        if name not in OF_PARTS:
            told[name] = count
        elif part:
            told.setdefault(name, {})[part] = count
        else:
            told.setdefault(name, {})
    known: dict[str, Any] = {name: told.get(name) for name in (*OF_PARTS, *OF_ALL)}
    return Losses(**known)
