"""A Snapshot goes to its document, through JSON, and back unchanged, whatever is in it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.model.document import document, snapshot_of
from kmemtrace.model.histogram import BUCKETS, Histogram
from kmemtrace.model.snapshot import Snapshot
from tests.sample import busy

_WHOLE = st.integers(-(1 << 62), 1 << 63)
_TEXT = st.text(max_size=8)

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, _WHOLE)
st.register_type_strategy(str, _TEXT)
st.register_type_strategy(
    Histogram,
    st.builds(
        Histogram,
        st.lists(st.integers(0, 1 << 40), min_size=BUCKETS, max_size=BUCKETS).map(tuple),
        st.integers(0, 1 << 80),
    ),
)


@given(st.from_type(Snapshot))
@settings(max_examples=100)
def test_there_and_back(snapshot: Snapshot) -> None:
    snapshot = _in_whole_seconds(snapshot)
    assert snapshot_of(json.loads(json.dumps(document(snapshot)))) == snapshot


def _in_whole_seconds(snapshot: Snapshot) -> Snapshot:
    """An age is told in place of the time at which the oldest page was charged: of such their difference."""
    watched = float(int(abs(snapshot.watched_seconds)) % (1 << 40))
    cgroups = (
        c if c.oldest_at is None else replace(c, oldest_at=min(watched, float(int(c.oldest_at) % (1 << 40))))
        for c in snapshot.cgroups
    )
    return replace(snapshot, watched_seconds=watched, cgroups=tuple(cgroups))


def test_what_a_later_version_adds_is_passed_over() -> None:
    told = document(busy()) | {"another": 1}
    told["losses"] |= {"another": 1}
    assert snapshot_of(told) == busy()


def _without(key: str) -> dict[str, Any]:
    return {k: v for k, v in document(busy()).items() if k != key}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "schema_version is None"),
        (document(busy()) | {"schema_version": 2}, "schema_version is 2"),
        (_without("cgroups"), "cgroups"),
        (document(busy()) | {"cgroups": 7}, "7 is not of the type"),
        (document(busy()) | {"cgroups": [7]}, "7 is not of the type"),
        (document(busy()) | {"tier": "magic"}, "magic"),
        (document(busy()) | {"page_size": "4096"}, "'4096' is not of the type"),
        (document(busy()) | {"time": True}, "True is not of the type"),
    ],
)
def test_what_is_none_of_ours_is_told(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        snapshot_of(told)


def test_a_histogram_that_is_none() -> None:
    with pytest.raises(ValueError, match="no histogram of ours"):
        Histogram.from_json({"buckets": [["+Inf", 1]]})
