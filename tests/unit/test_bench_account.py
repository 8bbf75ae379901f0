"""What `make account` reckons from first frames and censuses."""

from typing import Any

import pytest

from bench.account import (
    Cost,
    Share,
    _estimate,
    _lowest,
    _NoAccountError,
    _of_loads,
    _percent,
    _share,
    _text,
    _told_in,
)

COST = Cost(0.3, 0.2, 16.0, 1_000_000, per_gigabyte=0.01, per_million_objects=0.05)


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
    told = _estimate(COST)
    assert told["objects"] == 64_000_000
    assert told["cpu_seconds"] == pytest.approx(1024 * 0.01 + 64 * 0.05)
    assert told["cpu_share"] < 0.01
    assert told["interval_seconds"] == pytest.approx(100 * told["cpu_seconds"])


def frame(*rows: dict[str, Any], **unseen: str) -> dict[str, Any]:
    return {"cgroups": list(rows), "unseen": unseen, "census": {}}


def test_a_machine_without_a_cgroup_but_the_root_is_measured_too() -> None:
    """Nothing is charged to the root of cgroup v2 after a boot: its frame may have no row at all."""
    assert _told_in(frame(), "as it is") == []
    told = _text([share("under load", "/a", 1 << 21, 0)], COST)
    assert "as it is: no cgroup has over 1 MB" in told


def test_what_the_kernel_does_not_count_cannot_be_measured() -> None:
    row = {"path": "/a", "account": {"pages_bytes": 1 << 21}}
    with pytest.raises(_NoAccountError, match=r"before 5\.18"):
        _told_in(frame(row, kernel="cgroup v2 has no count of it before 5.18"), "as it is")


def test_a_load_without_a_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shares = [share("under load", "/elsewhere/a", 1 << 21, 0), share("under load", "/other", 1 << 21, 0)]
    assert [one.cgroup for one in _of_loads(shares, ["a", "b"])] == ["/elsewhere/a"]
    assert "b" in capsys.readouterr().err
    with pytest.raises(_NoAccountError, match="b"):
        _of_loads(shares, ["b"])
