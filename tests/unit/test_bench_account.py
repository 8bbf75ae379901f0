"""What `make account` reckons from first frames and censuses."""

import pytest

from bench.account import Cost, Share, _estimate, _lowest, _percent, _share


def share(when: str, cgroup: str, kernel: int, unexplained: int) -> Share:
    return Share(when, cgroup, kernel, {}, unexplained)


@pytest.mark.parametrize(("unexplained", "explained"), [(0, 1.0), (50, 0.95), (-50, 0.95)])
def test_too_much_is_no_better_explained_than_too_little(unexplained: int, explained: float) -> None:
    assert share("at rest", "/a", 1000, unexplained).explained == pytest.approx(explained)


def test_the_lowest_is_told_for_each_phase() -> None:
    shares = [
        share("at rest", "/a", 1000, 0),
        share("at rest", "/b", 1000, -3),
        share("under load", "/a", 1000, 20),
        share("under load", "/b", 1000, 10),
    ]
    assert {when: one.cgroup for when, one in _lowest(shares).items()} == {
        "at rest": "/b",
        "under load": "/a",
    }


def test_nearly_all_is_not_called_all() -> None:
    assert (_percent(0.99999), _percent(1.0)) == ("99.99 %", "100.00 %")


def test_a_part_that_was_not_read_is_left_out() -> None:
    account = {"kernel_bytes": 7, "unexplained_bytes": 2, "pages_bytes": 5, "slab_bytes": 0, "sites": []}
    assert _share("at rest", "/a", account).parts == {"pages": 5, "slab": 0}


def test_the_estimate_grows_with_memory_and_objects() -> None:
    cost = Cost(0.3, 0.2, 16.0, 1_000_000, per_gigabyte=0.01, per_million_objects=0.05)
    told = _estimate(cost)
    assert told["objects"] == 64_000_000
    assert told["cpu_seconds"] == pytest.approx(1024 * 0.01 + 64 * 0.05)
    assert told["cpu_share"] < 0.01
    assert told["interval_seconds"] == pytest.approx(100 * told["cpu_seconds"])
