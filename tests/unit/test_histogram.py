"""Log2 histograms: every duration in its bucket, and nothing lost on the way to JSON."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.model.histogram import BUCKETS, FIRST_LE_NS, Histogram, bucket, upper_bound_seconds

durations = st.integers(0, 1 << 50)


@given(durations)
def test_a_duration_lies_in_its_bucket_and_in_none_before(ns: int) -> None:
    at = bucket(ns)
    assert ns / 1e9 < upper_bound_seconds(at)
    assert at == 0 or ns / 1e9 >= upper_bound_seconds(at - 1)


@pytest.mark.parametrize(
    ("ns", "index"),
    [(0, 0), (1023, 0), (1024, 1), (2047, 1), (2048, 2), ((1 << 44) - 1, 34), (1 << 44, 35), (1 << 60, 35)],
)
def test_edges(ns: int, index: int) -> None:
    assert bucket(ns) == index


@given(st.lists(durations), st.lists(durations))
def test_sums_and_differences(some: list[int], others: list[int]) -> None:
    both = Histogram.of(some) + Histogram.of(others)
    assert both == Histogram.of(some + others)
    assert both - Histogram.of(others) == Histogram.of(some)


@given(st.lists(durations, min_size=1), st.floats(0, 1))
def test_a_quantile_bounds_its_share_from_above(ns: list[int], q: float) -> None:
    value = Histogram.of(ns).quantile_seconds(q)
    assert value is not None
    assert sum(n / 1e9 <= value for n in ns) >= max(1, math.ceil(len(ns) * q))


@given(st.lists(durations))
def test_json_is_cumulative_and_complete(ns: list[int]) -> None:
    json = Histogram.of(ns).to_json()
    buckets = json["buckets"]
    assert isinstance(buckets, list)
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert buckets[-1] == ["+Inf", len(ns)]
    assert json["count"] == len(ns)
    assert json["sum_seconds"] == pytest.approx(sum(ns) / 1e9)


def test_empty_and_open() -> None:
    assert Histogram.empty().quantile_seconds(0.5) is None
    assert Histogram.of([1 << 50]).quantile_seconds(0.5) == math.inf
    assert Histogram.of([FIRST_LE_NS - 1]).quantile_seconds(0.0) == FIRST_LE_NS / 1e9


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="quantile"):
        Histogram.empty().quantile_seconds(1.5)
    with pytest.raises(ValueError, match=str(BUCKETS)):
        Histogram((0,), 0)
