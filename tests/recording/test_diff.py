"""What a recording's parts say is what its Snapshots say; and `diff` as its users run it."""

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from kmemtrace.errors import ExitStatus
from kmemtrace.model.comparison import Measure, RowKey, RowKind, Side, estimate
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording import parts
from kmemtrace.recording.counts import function_name
from kmemtrace.recording.folder import minutes, remove
from kmemtrace.recording.parts import MOST_PARTS, side_of
from kmemtrace.recording.reader import file_of, snapshots
from kmemtrace.recording.writer import Writer
from tests.recording.source import machine
from tests.sample import cgroup, followed, site

ALL = RowKey(RowKind.ALL, "")


def record(folder: Path, given: Iterable[Snapshot], each: int = 9) -> Path:
    with Writer(folder, 1.0, minute=1e9) as writer:
        writer.begin({})
        for number, snapshot in enumerate(given):
            writer.add(snapshot)
            if number % each == each - 1:
                writer.finish()
        writer.finish()
    return folder


def charged(side: Side, key: RowKey) -> int:
    return sum(part.rows[key].charged for part in side.parts if key in part.rows)


def service(step: int, id: int, each: int, path: str = "/web", before: int = 0) -> Snapshot:  # noqa: A002
    """A service that is charged `each` pages a second and keeps a tenth of them."""
    sites = (site(before + each * step, before + each * step * 9 // 10),)
    one = cgroup(path, sites, id=id)
    return dataclasses.replace(followed(), cgroups=(one,), time=1e9 + step, watched_seconds=float(step))


@pytest.mark.parametrize("seed", range(3))
def test_all_together_is_what_the_snapshots_have(seed: int, tmp_path: Path) -> None:
    """Cgroups that come and go included."""
    made = list(itertools.islice(machine(seed), 60))
    side = side_of(record(tmp_path, made), "r")
    assert len(side.parts) == MOST_PARTS
    assert side.seconds == pytest.approx(59.0)
    size, first, last = made[0].page_size, made[0], made[-1]
    assert charged(side, ALL) == size * (last.charged_pages - first.charged_pages)
    assert side.parts[-1].rows[ALL].held == size * last.held_pages
    for one in last.cgroups:
        key = RowKey(RowKind.CGROUP, one.path)
        row = side.parts[-1].rows.get(key)  # none where there is nothing
        assert (row.held if row else 0) == size * one.held_pages
    sites = sum(s.held_pages for c in last.cgroups for s in c.sites)
    told = [row.held for key, row in side.parts[-1].rows.items() if key.kind is RowKind.SITE]
    assert sum(told) == size * sites


def test_caches_are_known_from_the_first_census_on_and_while_there_is_one(tmp_path: Path) -> None:
    """Not as none before, and not as grown by it; and a census that failed did not free anything."""
    dentries = RowKey(RowKind.CACHE, "dentry")
    made = [service(step, 7, 100) for step in range(41)]
    made = [one if 12 <= i < 31 else dataclasses.replace(one, census=None) for i, one in enumerate(made)]
    side = side_of(record(tmp_path, made), "r")
    assert [part.cached_seconds for part in side.parts] == [None] * 5 + [0.0] + [2.0] * 9 + [None] * 5
    (size,) = {part.rows[dentries].held for part in side.parts if part.cached_seconds is not None}
    assert size > 0
    assert not any(part.rows[dentries].growth for part in side.parts if dentries in part.rows)


def test_the_parts_do_not_depend_on_the_minutes(tmp_path: Path) -> None:
    made = list(itertools.islice(machine(4), 50))
    one, other = (side_of(record(tmp_path / str(each), made, each), "r") for each in (7, 1000))
    assert [part.rows for part in one.parts] == [part.rows for part in other.parts]


def test_a_service_that_was_restarted_is_one_row(tmp_path: Path) -> None:
    """Its cgroup has another id then, and what it was charged before is not lost."""
    made = [service(step, 7, 100) for step in range(11)]
    made += [service(step, 8, 100) for step in range(1, 11)]
    made = [dataclasses.replace(one, watched_seconds=float(i)) for i, one in enumerate(made)]
    side = side_of(record(tmp_path, made), "r")
    assert charged(side, RowKey(RowKind.CGROUP, "/web")) == 4096 * 100 * 20
    value = estimate(side, RowKey(RowKind.CGROUP, "/web"), Measure.CHARGED)
    assert value is not None
    assert value.value == pytest.approx(4096 * 100)


def test_runs_are_parts_where_there_are_enough(tmp_path: Path) -> None:
    for run in range(4):
        record(tmp_path, [service(step, 7 + run, 100) for step in range(6)])
    side = side_of(tmp_path, "r")
    assert [part.seconds for part in side.parts] == [5.0] * 4
    assert charged(side, RowKey(RowKind.CGROUP, "/web")) == 4 * 5 * 4096 * 100


def test_what_did_nothing_is_no_row(tmp_path: Path) -> None:
    """Though each minute tells it again."""
    made = [service(step, 7, 100) for step in range(12)]
    idle = cgroup("/idle", (site(9, 9, symbol="asked_long_ago"),), id=8)
    made = [dataclasses.replace(one, cgroups=(*one.cgroups, idle)) for one in made]
    side = side_of(record(tmp_path, made, 3), "r")
    names = {key.name for part in side.parts[1:] for key in part.rows}
    assert "/web" in names
    assert "/idle" not in names
    assert not [name for name in names if "asked_long_ago" in name]


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ("anon_pipe_write+0x1a8", "anon_pipe_write"),
        ("alloc_pages_noprof+0x4c", "alloc_pages"),
        ("sock_alloc.isra.0+0x12", "sock_alloc"),
        ("f.constprop.0.isra.1", "f"),
        ("g.part.3_noprof", "g"),
        ("partition", "partition"),
        ("(from before)", "(from before)"),
    ],
)
def test_a_functions_name_is_the_same_on_each_kernel(frame: str, name: str) -> None:
    assert function_name(frame) == name


def diff(*arguments: str, at: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kmemtrace", "diff", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=at)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sides")
    record(folder / "before", [service(step, 7, 100) for step in range(41)])
    record(folder / "same", [service(step, 700, 100, before=9) for step in range(41)])
    record(folder / "after", [service(step, 70, 140) for step in range(41)])
    record(folder / "short", [service(step, 70, 140) for step in range(3)])
    return folder


@pytest.mark.parametrize(
    ("b", "arguments", "status", "words"),
    [
        (
            "after",
            ["--measure", "charged", "--fail-over", "5%"],
            1,
            "grew by more than 5%, for certain: charged",
        ),
        ("after", ["--measure", "charged", "--fail-over", "50%"], 0, ""),
        ("after", ["--measure", "charged"], 0, ""),
        ("same", ["--measure", "charged", "--fail-over", "1"], 0, ""),
        ("before", ["--fail-over", "5%"], 3, "held is uncertain by more"),
        ("short", ["--measure", "charged", "--fail-over", "5%"], 3, "cannot be told: charged"),
        ("nothing", ["--fail-over", "5%"], 2, "There is no folder nothing."),
        ("after", ["--fail-over", "many"], 2, "is no percentage"),
    ],
)
def test_exit_status(b: str, arguments: list[str], status: int, words: str, sides: Path) -> None:
    done = diff("before", b, *arguments, at=sides)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert done.stderr or not words
    if status in (0, 1, 3):
        assert done.stdout.startswith("A, before: before, of node-7")
        assert f"\nB, after: {b}, of" in done.stdout


def test_json_has_every_row(sides: Path) -> None:
    done = diff("before", "after", "--json", at=sides)
    told = json.loads(done.stdout)
    assert (told["a"]["folder"], told["b"]["folder"]) == ("before", "after")
    (web,) = (d for d in told["differences"] if (d["kind"], d["measure"]) == ("cgroup", "charged"))
    assert web["name"] == "/web"
    assert web["verdict"] == "grew"
    assert (web["a"]["value"], web["b"]["value"]) == (409600.0, 573440.0)
    (kept,) = (d for d in told["differences"] if (d["kind"], d["measure"]) == ("cgroup", "kept"))
    assert kept["verdict"] == "within", "a tenth of what is charged, on both sides"
    assert kept["a"]["value"] == pytest.approx(0.1)


def test_by_stack(sides: Path) -> None:
    for arguments, many in (([], False), (["--by-stack"], True)):
        told = json.loads(diff("before", "after", "--json", *arguments, at=sides).stdout)
        names = {one["name"] for one in told["differences"] if one["kind"] == "site"}
        assert all((" < " in name) == many for name in names)
        assert names


def test_a_single_moment_is_refused(sides: Path, tmp_path: Path) -> None:
    record(tmp_path / "one", [service(1, 7, 100)])
    done = diff(str(sides / "before"), "one", at=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (ExitStatus.USAGE, 1)
    assert "one is of a single moment" in done.stderr


def test_the_sample_beside_itself(tmp_path: Path) -> None:
    told = json.loads(diff("sample", "sample", "--json", at=tmp_path).stdout)
    assert {one["verdict"] for one in told["differences"]} <= {"within", "unknown"}
    assert told["a"]["seconds"] == pytest.approx(80.0, abs=0.1)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_minute_that_is_missing_takes_nothing_of_the_rest(which: int, tmp_path: Path) -> None:
    """Counts go on over the gap; at the ends it is a shorter recording."""
    made = list(itertools.islice(machine(5), 36))
    record(tmp_path, made)
    remove(minutes(tmp_path)[which].path)
    first, last = made[9 if which == 0 else 0], made[26 if which == 3 else 35]
    side = side_of(tmp_path, "r")
    assert charged(side, ALL) == 4096 * (last.charged_pages - first.charged_pages)
    assert side.seconds == last.watched_seconds - first.watched_seconds
    assert all(part.seconds > 0 for part in side.parts)


@pytest.mark.parametrize("which", [0, 1, 3])
def test_a_minute_that_is_removed_while_it_is_read(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list(itertools.islice(machine(5), 36))
    record(tmp_path, made)
    gone = minutes(tmp_path)[which].number
    monkeypatch.setattr(
        parts, "file_of", lambda one, tables: None if one.number == gone else file_of(one, tables)
    )
    first, last = made[9 if which == 0 else 0], made[26 if which == 3 else 35]
    side = side_of(tmp_path, "r")
    assert side.seconds <= last.watched_seconds - first.watched_seconds
    assert 0 < charged(side, ALL) <= 4096 * (last.charged_pages - first.charged_pages)


def test_sums_are_those_of_the_newest_snapshots(tmp_path: Path) -> None:
    made = list(itertools.islice(machine(9), 30))
    back = list(snapshots(record(tmp_path, made)))
    assert charged(side_of(tmp_path, "r"), ALL) == 4096 * (back[-1].charged_pages - back[0].charged_pages)
    assert len(minutes(tmp_path)) > 2
