"""Snapshots go into a recording and come back the same, whatever is in them and however they change."""

import dataclasses
import itertools
import tempfile
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.model.account import Account, CacheUse, CensusInfo
from kmemtrace.model.enums import Confidence
from kmemtrace.model.histogram import BUCKETS, Histogram
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Allocations, Cgroup, CgroupKey, Snapshot
from kmemtrace.model.view import GroupBy, View
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.rows import NANOSECONDS, nanoseconds
from kmemtrace.recording.writer import Writer
from kmemtrace.tui.plain import frame
from tests.recording.same import assert_same
from tests.recording.source import machine
from tests.sample import followed, site

_U64 = st.integers(0, (1 << 64) - 1)
_NAMES = st.sampled_from(["a", "b", "é \x1b\n", "c/d"])
_SECONDS = st.floats(0, 1e7)
_ANY: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(1 << 50), 1 << 50),
    float: _SECONDS,
    str: _NAMES | st.text(min_size=1, max_size=4),
    bool: st.booleans(),
    Histogram: st.builds(Histogram, st.lists(_U64, min_size=BUCKETS, max_size=BUCKETS).map(tuple), _U64),
    CgroupKey: st.builds(CgroupKey, st.integers(0, 1), st.sampled_from([1, 2, (1 << 64) - 1])),
}
_FEW = 3


def _unique(kind: type, *names: str) -> st.SearchStrategy[Any]:
    """A few of a kind that differ in these fields."""

    def key(one: Any) -> tuple[Any, ...]:
        return tuple(getattr(one, name) for name in names)

    return st.lists(any_of(kind), max_size=_FEW, unique_by=key).map(tuple)


def _with(kind: type, **strategies: st.SearchStrategy[Any]) -> None:
    hints = typing.get_type_hints(kind)
    names = [one.name for one in dataclasses.fields(kind) if one.init]
    _ANY[kind] = st.builds(kind, **{n: strategies[n] if n in strategies else any_of(hints[n]) for n in names})


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that fields are annotated with."""
    if kind in _ANY:
        return _ANY[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*(st.none() if one is types.NoneType else any_of(one) for one in arguments))
    if origin is tuple:
        return st.lists(any_of(arguments[0]), max_size=_FEW).map(tuple)
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return st.dictionaries(any_of(arguments[0]), any_of(arguments[1]), max_size=_FEW)
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    _with(kind)
    return _ANY[kind]


_CACHES = _unique(CacheUse, "cache", "reclaimable")
_with(Account, caches=_CACHES)
_with(CensusInfo, caches=_CACHES)
_with(Mismatch, page=_U64, ended_page=st.none() | _U64)
hints = typing.get_type_hints(Cgroup)
_with(
    Cgroup,
    sites=_unique(typing.get_args(hints["sites"])[0], "kind", "symbol", "stack"),
    objects=st.none()
    | _unique(typing.get_args(typing.get_args(hints["objects"])[0])[0], "cache", "site", "object_bytes"),
    host=st.sampled_from([None, "here", "there"]),
)
_with(
    Snapshot,
    time=st.floats(1e8, 4e9),  # from where on a float is no finer than a nanosecond
    cgroups=_unique(Cgroup, "host", "key"),
    allocations=st.none() | _unique(Allocations, "accounted", "order"),
    old=st.none(),
)
SNAPSHOTS = st.lists(_ANY[Snapshot], min_size=1, max_size=4)


def recorded(folder: Path, given: list[Snapshot], ends: set[int] = frozenset()) -> list[Snapshot]:  # type: ignore[assignment]
    """What comes back; a minute ends after each Snapshot whose number is in `ends`."""
    with Writer(folder, 1.0, minute=1e9) as writer:
        writer.begin({})
        for number, snapshot in enumerate(given):
            writer.add(snapshot)
            if number in ends:
                writer.finish()
        writer.finish()
    return list(snapshots(folder))


@given(SNAPSHOTS, st.sets(st.integers(0, 3)))
@settings(max_examples=60, deadline=None)
def test_there_and_back(given: list[Snapshot], ends: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = recorded(Path(folder), given, ends)
    assert len(back) == len(given)
    for one, other in zip(back, given, strict=True):
        assert_same(one, other)


@given(st.floats(1e8, 4e9))
def test_a_time_is_kept_to_its_last_bit(time: float) -> None:
    assert nanoseconds(time) / NANOSECONDS == time


@pytest.mark.parametrize("by", GroupBy)
def test_frames_of_what_comes_back(by: GroupBy, tmp_path: Path) -> None:
    """To the letter, of a machine whose cgroups come and go."""
    given = [*itertools.islice(machine(7), 40), *(followed(i) for i in range(3))]
    back = recorded(tmp_path, given, {10, 30})
    view, before = View(by=by), (None, *given)
    for one, other, was, is_before in zip(back, given, (None, *back), before, strict=False):
        assert frame(one, was, view, 160, None) == frame(other, is_before, view, 160, None)


def test_call_sites_that_differ_in_nothing_are_one(tmp_path: Path) -> None:
    of = followed()
    twice = dataclasses.replace(of.cgroups[0], sites=(site(7, 3), site(5, 1)))
    (back,) = recorded(tmp_path, [dataclasses.replace(of, cgroups=(twice,))])
    assert back.cgroups[0].sites == (site(12, 4),)


def test_names_that_are_no_text_are_kept_readable(tmp_path: Path) -> None:
    of = followed()
    odd = dataclasses.replace(of.cgroups[0], path="/\udcff")
    (back,) = recorded(tmp_path, [dataclasses.replace(of, cgroups=(odd,))])
    assert back.cgroups[0].path == "/\\udcff"


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    """But for its row of the moment itself, though all held pages grow older."""
    of = followed()
    with Writer(tmp_path, 1.0, minute=1e9) as writer:
        writer.begin({})
        rows = []
        for i in range(3):
            writer.add(dataclasses.replace(of, watched_seconds=200.0 + i))
            rows.append(writer.rows)
        writer.finish()
    assert [b - a for a, b in itertools.pairwise(rows)] == [1, 1]


def test_losses_that_this_kernel_does_not_tell_stay_unknown(tmp_path: Path) -> None:
    unknown = Losses(None, {}, 0, 0, 0, 0, 0)
    (back,) = recorded(tmp_path, [dataclasses.replace(followed(), losses=unknown)])
    assert back.losses == unknown


def test_a_confidence_comes_back_as_one(tmp_path: Path) -> None:
    (*_, back) = recorded(tmp_path, list(itertools.islice(machine(1), 9)))
    assert {one.confidence for one in back.mismatches} == {Confidence.CERTAIN}
