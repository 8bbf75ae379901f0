"""What a report counts is what the Snapshots say, whatever is thinned and wherever it begins."""

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from kmemtrace.errors import UsageError
from kmemtrace.history.history import History, cgroup_key, read
from kmemtrace.history.timeline import parse_time, timeline
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.text import utc
from tests.history.recorded import machine, made_up, record
from tests.recording.source import BEGAN

Key = tuple[object, ...]


def by_cgroup(snapshot: Snapshot) -> dict[Key, tuple[int, int, int]]:
    return {(c.host, *c.key): (c.held_pages, c.charged_pages, c.uncharged_pages) for c in snapshot.cgroups}


def by_site(snapshot: Snapshot) -> dict[Key, tuple[int, int, int]]:
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for c in snapshot.cgroups:
        for s in c.sites:
            row = found[c.host, *c.key, s.kind.value, s.symbol, s.stack]
            row[:] = (row[0] + s.held_pages, row[1] + s.charged_pages, row[2] + s.uncharged_pages)
    return {key: (row[0], row[1], row[2]) for key, row in found.items()}


def flows(known: list[dict[Key, tuple[int, int, int]]], zero: bool, place: int) -> dict[Key, int]:
    """What was counted in all, Snapshot by Snapshot; `zero`: from the first one's counts on."""
    sums: dict[Key, int] = defaultdict(int)
    before = known[0] if zero else {}
    last: dict[Key, int] = {key: row[place] for key, row in before.items()}
    for one in known:
        for key, row in one.items():
            change = row[place] - last.get(key, 0)
            sums[key] += change if change >= 0 else row[place]
            last[key] = row[place]
    return {key: n for key, n in sums.items() if n}


def site_key(history: History, detail: dict[str, object]) -> Key:
    stack = () if detail["stack"] is None else history.stacks[detail["stack"]]  # type: ignore[index]
    return (*cgroup_key(detail), detail["kind"], detail["symbol"], stack)


@pytest.mark.parametrize("bins", [2, 3, 10, 999])
@pytest.mark.parametrize("begin", [0, 11, 37])
def test_counts_are_those_of_the_snapshots(tmp_path: Path, bins: int, begin: int) -> None:
    snapshots = made_up(tmp_path / "r", 5, 40)[begin:]
    history = read(tmp_path / "r", bins, since=None if not begin else utc(BEGAN + begin))
    n = len(history.timeline.bins)
    assert n == min(bins, len(snapshots))
    assert history.timeline.moments == len(snapshots)
    assert history.timeline.seconds == pytest.approx(len(snapshots) - 1)
    for counts, of, key in (
        (history.cgroups, by_cgroup, lambda _, detail: cgroup_key(detail)),
        (history.sites, by_site, site_key),
    ):
        known = [of(snapshot) for snapshot in snapshots]
        keys = [key(history, detail) for detail in counts.details]
        assert len(set(keys)) == len(keys)
        held = dict(zip(keys, counts.last("held", n).tolist(), strict=True))
        assert {k: v for k, v in held.items() if v} == {k: row[0] for k, row in known[-1].items() if row[0]}
        first = dict(zip(keys, counts.first("held").tolist(), strict=True))
        assert {k: v for k, v in first.items() if v} == {k: row[0] for k, row in known[0].items() if row[0]}
        for place, name in ((1, "charged"), (2, "uncharged")):
            found = dict(zip(keys, counts.total(name).tolist(), strict=True))
            assert {k: v for k, v in found.items() if v} == flows(known, bool(begin), place)
        peak = dict(zip(keys, counts.peak.tolist(), strict=True))
        for k, highest in peak.items():
            assert highest == max((row[k][0] for row in known if k in row), default=0)


def test_points_are_what_was_held_at_their_end(tmp_path: Path) -> None:
    snapshots = made_up(tmp_path / "r", 5, 40)
    history = read(tmp_path / "r", 8)
    held = history.cgroups.grouped("held", np.zeros(len(history.names), int), 1, 8)[0]
    ends = [bin_.last for bin_ in history.timeline.bins]
    assert ends[0] == 0
    assert ends[-1] == 39
    assert held.tolist() == [sum(c.held_pages for c in snapshots[end].cgroups) for end in ends]


def test_runs_are_counted_each_from_its_begin(tmp_path: Path) -> None:
    a, b = made_up(tmp_path / "r", 5, 10), made_up(tmp_path / "r", 6, 10)
    history = read(tmp_path / "r", 4)
    assert history.timeline.runs == (0, 1)
    assert [one.run for one in history.endings] == [0, 1]
    charged = sum(s[-1].cgroups[0].charged_pages for s in (a, b))
    of = next(i for i, name in enumerate(history.names) if name == "/counter")
    assert history.cgroups.total("charged")[of] == charged == 2 * 1009


def test_a_minute_that_is_not_there_any_more_takes_nothing_but_its_time(tmp_path: Path) -> None:
    snapshots = made_up(tmp_path / "r", 5, 40)
    minutes = sorted(one for one in (tmp_path / "r").iterdir() if one.is_dir())
    for file in minutes[2].iterdir():
        file.unlink()
    minutes[2].rmdir()
    history = read(tmp_path / "r", 99)
    of = next(i for i, name in enumerate(history.names) if name == "/counter")
    assert history.timeline.moments == 33
    assert history.cgroups.total("charged")[of] == snapshots[-1].cgroups[0].charged_pages


def test_a_cgroup_that_went_within_a_point_is_counted(tmp_path: Path) -> None:
    snapshots = made_up(tmp_path / "r", 5, 40)
    history = read(tmp_path / "r", 2)
    there = {name for s in snapshots for name in (c.path for c in s.cgroups)}
    assert set(history.names) == there
    assert len(there) > len(snapshots[-1].cgroups)


def test_a_clock_that_is_set_back_leaves_points_in_their_order(tmp_path: Path) -> None:
    rows = made_up(tmp_path / "r", 5, 10)
    record(tmp_path / "r", rows)
    times = [bin_.time for bin_ in timeline(tmp_path / "r", 99).bins]
    assert times == sorted(set(times))
    assert len(times) == 20


def test_random_ranges_add_up_to_the_whole(tmp_path: Path) -> None:
    made_up(tmp_path / "r", 9, 40)
    chance = random.Random(2)
    whole = read(tmp_path / "r", 40).cgroups.total("charged").sum()
    for _ in range(5):
        cut = chance.randrange(1, 39)
        parts = [
            read(tmp_path / "r", 7, None, utc(BEGAN + cut)),
            read(tmp_path / "r", 7, utc(BEGAN + cut), None),
        ]
        assert sum(int(one.cgroups.total("charged").sum()) for one in parts) == whole


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-05-28T20:26:40", 1_780_000_000),
        ("2026-05-28 22:26:40+02:00", 1_780_000_000),
        ("20:26:40", 1_780_000_000),
        ("20:30", 1_780_000_200),
        ("01:00", 1_780_016_400),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text, BEGAN) == seconds


@pytest.mark.parametrize("text", ["", "x", "25:00", "2026-13-01", "1h", "-", "T"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_time(text, BEGAN)


def test_a_range_in_which_there_is_nothing(tmp_path: Path) -> None:
    record(tmp_path / "r", [next(machine(1))])
    for since, until in (("2030-01-01", None), (None, "1999-01-01"), ("20:26:40", "20:26:39")):
        with pytest.raises(UsageError, match=r"Nothing was recorded in that range.* 2026-05-28 20:26:40"):
            read(tmp_path / "r", 9, since, until)
