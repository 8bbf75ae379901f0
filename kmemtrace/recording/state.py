"""Takes a Snapshot apart into keys and values, table by table: its State.

Two States can be compared key by key, so that only what changed is written. Values stand in the order of the
schema's columns.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import Enum
from hashlib import blake2b
from operator import attrgetter
from typing import Any

from kmemtrace.model.account import CacheUse, added_caches
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.objects import added_objects
from kmemtrace.model.snapshot import Cgroup, Site, Snapshot, added_sites
from kmemtrace.recording.schema import BY_NAME

Key = tuple[Any, ...]
Values = tuple[Any, ...]
Rows = Iterator[tuple[Key, Values]]
State = dict[str, dict[Key, Values]]
"""Values by key, by table."""
Stacks = dict[int, tuple[str, ...]]
"""Frames by number of the stack."""

MOST_NS = (1 << 64) - 1
MACHINE = (None, None, None)
"""In place of a cgroup's key, where a row is of the whole machine."""


def _names(table: str, prefix: str = "") -> tuple[str, ...]:
    names = (column.name for column in BY_NAME[table].values)
    return tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))


ACCOUNT = _names("cgroups", "account_")
GONE = _names("snapshots", "gone_")
CGROUP = tuple(
    n.replace("oldest_seconds", "oldest_at")
    for n in _names("cgroups")
    if n != "follows_objects" and not n.startswith("account_")
)
OLDEST = CGROUP.index("oldest_at")
"""The file has the age at the moment of the row in its place, which is easier to read."""
FOLLOWS_OBJECTS = len(CGROUP)
SITE = _names("sites")
OBJECT = _names("objects")
FINDING = tuple(n.replace("last_time", "time") for n in _names("findings"))
OF_PARTS = ("map_full", "recursion_misses")
"""Fields of Losses that are counted by part."""
OF_ALL = tuple(one.name for one in fields(Losses) if one.name not in OF_PARTS)
"""Its other fields."""

_account, _gone, _cgroup = attrgetter(*ACCOUNT), attrgetter(*GONE), attrgetter(*CGROUP)
_site, _object, _finding = attrgetter(*SITE), attrgetter(*OBJECT), attrgetter(*FINDING)
_NO_ACCOUNT = (None,) * len(ACCOUNT)


def state_of(snapshot: Snapshot, stacks: Stacks) -> State:
    """Returns the State of a Snapshot.

    Args:
        snapshot: The Snapshot.
        stacks: Gets the stacks that it has.
    """
    state: State = {
        "snapshots": {(): _moment(snapshot)},
        "cgroups": {},
        "sites": {},
        "caches": {},
        "objects": {},
        "latencies": dict(_allocations(snapshot)),
        "findings": {(i,): _evidence(one, stacks) for i, one in enumerate(snapshot.mismatches)},
        "losses": dict(_losses(snapshot.losses)),
        "maps": {(name,): (fill.entries, fill.capacity) for name, fill in snapshot.maps.items()},
    }
    if snapshot.census is not None:
        state["caches"].update(_caches(MACHINE, snapshot.census.caches))
    for cgroup in snapshot.cgroups:
        key = (cgroup.host, *cgroup.key)
        state["cgroups"][key] = _values(cgroup)
        state["sites"].update(_sites(key, cgroup.sites, stacks))
        for measured, histogram in cgroup.latency.items():
            state["latencies"][*key, measured, None, None] = _histogram(histogram)
        if cgroup.account is not None:
            state["caches"].update(_caches(key, cgroup.account.caches))
        for use in added_objects(cgroup.objects or ()):
            state["objects"][*key, use.cache, use.site, use.object_bytes] = _object(use)
    return state


def stack_number(frames: tuple[str, ...], stacks: Stacks) -> int | None:
    """Returns the number of a stack, which is added to `stacks`; None for that which was not recorded."""
    if not frames:
        return None
    number = _hashed(frames)
    stacks[number] = frames
    return number


@functools.lru_cache(maxsize=1 << 14)
def _hashed(frames: tuple[str, ...]) -> int:
    text = "\n".join(frames).encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def _moment(snapshot: Snapshot) -> Values:
    census = snapshot.census
    return (
        snapshot.watched_seconds,
        snapshot.host,
        snapshot.kernel,
        snapshot.tier.value,
        snapshot.page_size,
        snapshot.hosts,
        snapshot.preexisting_pages,
        snapshot.own_bytes,
        snapshot.charge_share,
        snapshot.allocations is not None,
        *_gone(snapshot.gone),
        *(
            (None,) * 7
            if census is None
            else (
                census.age_seconds,
                census.seconds,
                census.cpu_seconds,
                census.objects,
                census.dying_cgroups,
                _items(census.pinned),
                _items(census.unseen),
            )
        ),
        _items(snapshot.exempt),
        _items(snapshot.unseen),
        _items(snapshot.unjudged_seconds),
    )


def _values(cgroup: Cgroup) -> Values:
    values = [_plain(one) for one in _cgroup(cgroup)]
    account = _NO_ACCOUNT if cgroup.account is None else _account(cgroup.account)
    return (*values, cgroup.objects is not None, *account)


def _sites(cgroup: Key, sites: tuple[Site, ...], stacks: Stacks) -> Rows:
    for one in added_sites(sites):
        yield (*cgroup, one.kind.value, one.symbol, stack_number(one.stack, stacks)), _site(one)


def _caches(cgroup: Key, uses: tuple[CacheUse, ...]) -> Rows:
    for use in added_caches(uses):
        yield (*cgroup, use.cache, use.reclaimable), (use.objects, use.bytes)


def _allocations(snapshot: Snapshot) -> Rows:
    for one in snapshot.allocations or ():
        yield (*MACHINE, "alloc", one.accounted, one.order), _histogram(one.latency)


def _histogram(histogram: Histogram) -> Values:
    return min(histogram.sum_ns, MOST_NS), histogram.counts


def _evidence(mismatch: Mismatch, stacks: Stacks) -> Values:
    found = dict(zip(FINDING, map(_plain, _finding(mismatch)), strict=True))
    for name in ("alloc_stack", "free_stack"):
        found[name] = stack_number(found[name], stacks)
    return tuple(found.values())


def _losses(losses: Losses) -> Rows:
    for name in OF_PARTS:
        parts: Mapping[str, int] | None = getattr(losses, name)
        if parts is not None:
            yield (name, ""), (sum(parts.values()),)
            for part, count in parts.items():
                yield (name, part), (count,)
    for name in OF_ALL:
        count = getattr(losses, name)
        if count is not None:
            yield (name, ""), (count,)


def _plain(value: Any) -> Any:
    """Returns a value as the file has it."""
    if isinstance(value, Mapping):
        return _items(value)
    return value.value if isinstance(value, Enum) else value


def _items(mapping: Mapping[Any, Any]) -> Values:
    return tuple((_plain(key), value) for key, value in mapping.items())
