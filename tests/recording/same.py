"""Whether two Snapshots are the same, as far as a recording keeps what is in one."""

import dataclasses

import pytest

from kmemtrace.model.account import CacheUse
from kmemtrace.model.objects import added_objects
from kmemtrace.model.snapshot import Cgroup, Snapshot


def assert_same(back: Snapshot, snapshot: Snapshot) -> None:
    """But for the order of rows, and for how a difference of two times is rounded."""
    a, b = _ordered(back), _ordered(snapshot)
    assert len(a.cgroups) == len(b.cgroups)
    for one, other in zip(a.cgroups, b.cgroups, strict=True):
        assert one.oldest_at == pytest.approx(other.oldest_at, abs=1e-6)
        assert dataclasses.replace(one, oldest_at=None) == dataclasses.replace(other, oldest_at=None)
    assert dataclasses.replace(a, cgroups=()) == dataclasses.replace(b, cgroups=())


def _ordered(snapshot: Snapshot) -> Snapshot:
    census = snapshot.census
    return dataclasses.replace(
        snapshot,
        cgroups=tuple(sorted(map(_cgroup, snapshot.cgroups), key=lambda c: (c.host or "", c.key))),
        allocations=snapshot.allocations
        and tuple(sorted(snapshot.allocations, key=lambda one: (one.accounted, one.order))),
        census=census and dataclasses.replace(census, caches=_caches(census.caches)),
    )


def _cgroup(of: Cgroup) -> Cgroup:
    return dataclasses.replace(
        of,
        sites=tuple(sorted(of.sites, key=lambda one: (one.kind, one.symbol, one.stack))),
        account=of.account and dataclasses.replace(of.account, caches=_caches(of.account.caches)),
        objects=None if of.objects is None else added_objects(of.objects),
    )


def _caches(uses: tuple[CacheUse, ...]) -> tuple[CacheUse, ...]:
    return tuple(sorted(uses, key=lambda use: (use.cache, use.reclaimable)))
