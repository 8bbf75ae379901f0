"""Minutes that are merged: every Snapshot that stays reads as it did, and nothing that ended is lost."""

import dataclasses
import itertools
import json
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kmemtrace
from kmemtrace.model.comparison import RowKey, RowKind
from kmemtrace.model.document import mismatch_document
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording import rotation
from kmemtrace.recording.folder import Minute, merged_path, minutes
from kmemtrace.recording.hashes import hashes
from kmemtrace.recording.parts import side_of
from kmemtrace.recording.reader import anew, files, headers, snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.rotation import Detail, Limits
from kmemtrace.recording.writer import Writer
from tests.recording.same import assert_same
from tests.recording.source import machine
from tests.recording.test_folder import Clocks
from tests.recording.test_there_and_back import SNAPSHOTS
from tests.sample import cgroup, followed, site

STEP = 5.0
AT_ONCE = Detail(seconds=0.0, bytes=0, step=STEP)


@pytest.fixture(autouse=True)
def each_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_MINUTES", 1)


def record(
    folder: Path,
    given: Iterable[Snapshot],
    ends: Iterable[int],
    detail: Detail | None = AT_ONCE,
    limits: Limits | None = None,
) -> None:
    """Records; a minute ends after each Snapshot whose number is in `ends`, and those before are merged."""
    clocks, at = Clocks(), set(ends)
    with Writer(folder, 1.0, limits, detail=detail, minute=1e9, now=clocks) as writer:
        writer.begin({})
        for number, snapshot in enumerate(given):
            writer.add(snapshot)
            clocks.passes(1.0)
            if number in at:
                writer.finish()
                writer.merge()
        writer.finish()


def staying(given: list[Snapshot], numbers: list[int]) -> list[Snapshot]:
    return [given[number] for number in numbers]


def numbers(folder: Path) -> list[int]:
    return [n for file in files(folder) for n in file.tables["snapshots"]["moment"].to_pylist()]


def in_time(given: list[Snapshot], seconds: list[float]) -> list[Snapshot]:
    """The same Snapshots, so many seconds after each other."""
    at = itertools.accumulate(seconds)
    return [dataclasses.replace(s, time=1e9 + t, watched_seconds=t) for s, t in zip(given, at, strict=False)]


@given(
    st.lists(SNAPSHOTS, min_size=1, max_size=4).map(lambda some: [*itertools.chain(*some)]),
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0, 7.0]), min_size=16, max_size=16),
    st.sets(st.integers(0, 15)),
)
@settings(max_examples=60, deadline=None)
def test_what_stays_reads_as_it_did(given: list[Snapshot], seconds: list[float], ends: set[int]) -> None:
    made = in_time(given, seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder, made, ends)
        there, back = numbers(folder), list(snapshots(folder))
        frames = list(Replay(folder).frames())
        found = {
            row
            for file in files(folder)
            for row in map(repr, file.tables["findings"].drop(["moment", "time", "place"]).to_pylist())
        }
        record(folder / "unmerged", made, ends, None)
        expected = {
            row
            for file in files(folder / "unmerged")
            for row in map(repr, file.tables["findings"].drop(["moment", "time", "place"]).to_pylist())
        }
    assert there == sorted(set(there))
    assert {0, len(made) - 1} <= set(there)
    for one, other in zip(back, staying(made, there), strict=True):
        assert_same(one, other)
    assert [one.snapshot for one in frames] == back
    assert found == expected, "no finding is dropped"


@pytest.mark.parametrize("each", [1, 3, 4, 10])
def test_which_stay(each: int, tmp_path: Path) -> None:
    """The last one of each step, whatever was merged when, and the first; the newest minute is whole."""
    record(tmp_path, itertools.islice(machine(1), 40), range(each - 1, 40, each))
    merged = 40 // each - 1  # all that were written but the newest
    end = merged * each
    stay = [0, *(n for n in range(1, end) if n % 5 == 4 or n == end - 1)]
    assert numbers(tmp_path) == sorted({*stay, *range(end, 40)})
    assert (minutes(tmp_path)[0].number, minutes(tmp_path)[0].last) == (0, merged - 1)
    assert not any(one.is_merged for one in minutes(tmp_path)[1:])


def test_an_hour_is_a_file(tmp_path: Path) -> None:
    made = [
        dataclasses.replace(s, watched_seconds=60.0 * i)
        for i, s in enumerate(itertools.islice(machine(1), 150))
    ]
    clocks = Clocks()
    with Writer(tmp_path, 60.0, detail=Detail(600.0, 1 << 30, 300.0), minute=1e9, now=clocks) as writer:
        writer.begin({})
        for snapshot in made:
            writer.add(snapshot)
            clocks.passes(60.0)
            writer.finish()
            writer.merge()
    assert [(one.number, one.last) for one in minutes(tmp_path) if one.is_merged] == [
        (0, 59),
        (60, 119),
        (120, 138),
    ]
    assert [one.number for one in minutes(tmp_path) if not one.is_merged] == list(range(139, 150)), (
        "10 minutes"
    )


def test_what_takes_too_much_is_merged_earlier(tmp_path: Path) -> None:
    most = 400_000
    record(tmp_path, itertools.islice(machine(1), 60), range(60), Detail(1e9, most, STEP))
    sizes = [one.bytes() for one in minutes(tmp_path) if not one.is_merged]
    assert sum(sizes) <= most
    assert len(sizes) > 2


def test_runs_are_not_merged_with_each_other(tmp_path: Path) -> None:
    for seed in (1, 2):
        record(tmp_path, itertools.islice(machine(seed), 20), range(1, 20, 2))
    assert [(f.meta["run"], f.minute.number, f.minute.last) for f in headers(tmp_path)] == [
        (0, 0, 9),
        (1, 10, 18),
        (1, 19, 19),
    ]
    made = [[*itertools.islice(machine(seed), 20)] for seed in (1, 2)]
    at = [(f.meta["run"], n) for f in files(tmp_path) for n in f.tables["snapshots"]["moment"].to_pylist()]
    for one, (run, moment) in zip(snapshots(tmp_path), at, strict=True):
        assert_same(one, made[run][moment])


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    return [row for file in files(folder) for row in file.tables[table].to_pylist()]


def short(number: int) -> Snapshot:
    """/short is there at Snapshots 6 to 8 alone, and /old until 7; /anew counts from zero again at 8."""
    found = [cgroup("/stays", (site(100 + number),), id=1)]
    found += [cgroup("/short", (site(10 * number),), id=2)] if number in (6, 7, 8) else []
    found += [cgroup("/old", (site(5 * number),), id=3)] if number < 8 else []
    found += [cgroup("/anew", (site(50 + number if number < 8 else number),), id=4)]
    return dataclasses.replace(
        followed(), time=1e9 + number, watched_seconds=float(number), cgroups=tuple(found), mismatches=()
    )


def test_what_ended_in_between_is_there(tmp_path: Path) -> None:
    """With its last counts, at the moment that it had them."""
    record(tmp_path, map(short, range(20)), range(1, 20, 2))
    found = [(r["moment"], r["path"], r["charged_pages"]) for r in rows(tmp_path, "cgroups")]
    assert (8, "/short", 80) in found
    assert (7, "/old", 35) in found
    assert (7, "/anew", 57) in found
    assert not [one for one in found if one[1] == "/stays" and one[0] in range(5, 9)], "but this is left out"
    assert {(r["moment"], r["id"]) for r in rows(tmp_path, "cgroups") if not r["present"]} == {(9, 2), (8, 3)}
    sites = [(r["moment"], r["id"], r["charged_pages"]) for r in rows(tmp_path, "sites") if r["present"]]
    assert {(8, 2, 80), (7, 3, 35), (7, 4, 57)} <= set(sites)


def test_what_does_not_change_is_told_once_an_hour(tmp_path: Path) -> None:
    of = followed()
    given = [dataclasses.replace(of, time=1e9 + i, watched_seconds=200.0 + i) for i in range(100)]
    record(tmp_path, given, range(0, 100, 4))
    merged, *_ = files(tmp_path)
    assert merged.tables["snapshots"].num_rows > 15
    assert merged.tables["cgroups"].num_rows == len(of.cgroups)


def test_findings_as_lines(tmp_path: Path) -> None:
    """Each that is new or was counted on, once."""
    made = list(itertools.islice(machine(1), 40))
    record(tmp_path, made, range(3, 40, 4))
    merged, *_ = minutes(tmp_path)
    found = [json.loads(line) for line in (merged.path / "findings.jsonl").read_text().splitlines()]
    expected: dict[str, dict[str, Any]] = {}
    for number, snapshot in enumerate(made[:36]):
        for one in map(mismatch_document, snapshot.mismatches):
            expected.setdefault(json.dumps(one), {"moment": number, **one})
    assert found == list(expected.values())


def test_others_read_what_was_merged(tmp_path: Path) -> None:
    """load(), diff, and whatever reads Parquet."""
    made = list(itertools.islice(machine(5), 60))
    record(tmp_path, made, range(5, 60, 6))
    found = kmemtrace.load(tmp_path)
    for time, one in zip(found.snapshots["time"], snapshots(tmp_path), strict=True):
        state = found.state("cgroups", time).set_index("path")["charged_pages"]
        assert dict(state) == {c.path: c.charged_pages for c in one.cgroups}
    whole, merged = found.minutes["first_moment"].tolist(), found.minutes["last_moment"].tolist()
    assert (whole, merged) == ([0, 54], [53, 59])
    side = side_of(tmp_path, "r")
    size, last = made[0].page_size, made[-1]
    of_all = sum(part.rows[RowKey(RowKind.ALL, "")].charged for part in side.parts)
    assert of_all == size * (last.charged_pages - made[0].charged_pages)
    counter = sum(part.rows[RowKey(RowKind.CGROUP, "/counter")].charged for part in side.parts)
    assert counter == size * 59
    plain = [pq.read_table(one.path / "cgroups.parquet") for one in minutes(tmp_path)]
    newest = max(
        row["charged_pages"] for row in pa.concat_tables(plain).to_pylist() if row["path"] == "/counter"
    )
    assert newest == 1059


def test_rotation_removes_merged_ones_as_others(tmp_path: Path) -> None:
    clocks = Clocks()
    with Writer(tmp_path, 60.0, Limits(seconds=7000.0), detail=AT_ONCE, minute=1e9, now=clocks) as writer:
        writer.begin({})
        for snapshot in itertools.islice(machine(1), 200):
            writer.add(snapshot)
            clocks.passes(60.0)
            writer.finish()
            writer.merge()
        assert writer.bytes == sum(one.bytes() for one in minutes(tmp_path))
    assert [(one.number, one.last) for one in minutes(tmp_path)] == [
        (60, 119),
        (120, 179),
        (180, 198),
        (199, 199),
    ]


def test_a_minute_that_is_damaged_stays_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    clocks = Clocks()
    with Writer(tmp_path, 1.0, detail=AT_ONCE, minute=1e9, now=clocks, warn=told.append) as writer:
        writer.begin({})
        for number, snapshot in enumerate(itertools.islice(machine(1), 40)):
            writer.add(snapshot)
            clocks.passes(1.0)
            if number % 4 == 3:
                writer.finish()
                if number == 11:
                    (minutes(tmp_path)[-1].path / "cgroups.parquet").write_bytes(b"")
                writer.merge()
    assert [(one.number, one.last) for one in minutes(tmp_path)] == [(0, 1), (2, 2), (3, 8), (9, 9)]
    assert len(told) == 1
    assert "cannot be merged, and stays as it is:" in told[0]
    assert "cgroups.parquet is damaged: it has 0 bytes" in told[0]


def test_no_time_is_read_twice_after_a_kill_between_renaming_and_removing(tmp_path: Path) -> None:
    record(tmp_path / "r", itertools.islice(machine(1), 24), range(3, 24, 4), None)
    record(tmp_path / "m", itertools.islice(machine(1), 24), range(3, 24, 4))
    merged, newest = minutes(tmp_path / "m")
    expected = numbers(tmp_path / "m")
    merged.path.rename(tmp_path / "r" / merged.path.name)
    assert len([*(tmp_path / "r").iterdir()]) == 1 + 6 + 1
    assert [(one.number, one.last) for one in minutes(tmp_path / "r")] == [(0, 4), (5, 5)]
    assert numbers(tmp_path / "r") == expected
    with Writer(tmp_path / "r", 1.0):
        assert len([*(tmp_path / "r").iterdir()]) == 1 + 2
    assert newest.number == 5


def test_one_that_was_merged_alone_stands_for_itself(tmp_path: Path) -> None:
    alone = tmp_path / "00000007-20260528T202640Z"
    both = merged_path(tmp_path, *[Minute(7, 7, alone)] * 2)
    alone.mkdir()
    both.mkdir()
    assert [(one.path, one.is_merged) for one in minutes(tmp_path)] == [(both, True)]


def all_steps(charged: Iterable[int]) -> None:
    """Every step's last Snapshot is there, but for those of the last step, and nothing is there twice."""
    found = list(charged)
    assert found == sorted(set(found))
    assert set(range(4, found[-1] - 5, 5)) | {0} <= set(found)


def by_snapshots(folder: Path) -> None:
    all_steps(s.cgroups[0].charged_pages - 1000 for s in snapshots(folder))


def by_replay(folder: Path) -> None:
    all_steps(f.snapshot.cgroups[0].charged_pages - 1000 for f in Replay(folder).frames())


def by_load(folder: Path) -> None:
    all_steps(kmemtrace.load(folder).snapshots["moment"].tolist())


def by_diff(folder: Path) -> None:
    newest = max(one.meta["moments"][1] for one in anew(lambda: headers(folder)))
    if newest > 1:
        parts = side_of(folder, "r").parts
        assert sum(part.rows[RowKey(RowKind.CGROUP, "/counter")].charged for part in parts) >= newest * 4096


def test_read_while_it_is_merged(tmp_path: Path) -> None:
    """By readers that go through it again and again."""
    end, failures = threading.Event(), list[BaseException]()

    def each(read: Callable[[Path], None]) -> None:
        try:
            while not end.is_set():
                read(tmp_path)
        except BaseException as error:  # noqa: BLE001 told by the main thread
            failures.append(error)

    readers = [
        threading.Thread(target=each, args=(one,)) for one in (by_snapshots, by_replay, by_load, by_diff)
    ]
    with Writer(tmp_path, 1.0, detail=AT_ONCE, minute=1e9) as writer:
        writer.begin({})
        for number, snapshot in enumerate(itertools.islice(machine(3), 200)):
            writer.add(snapshot)
            if number == 9:
                for one in readers:
                    one.start()
            if number % 3 == 2:
                writer.finish()
                if number % 30 == 29:
                    writer.merge()
        end.set()
        for one in readers:
            one.join()
    assert not failures, failures
    assert numbers(tmp_path)[:4] == [0, 4, 9, 14]


@pytest.mark.parametrize(
    "type_",
    [
        pa.list_(pa.uint64()),
        pa.map_(pa.string(), pa.int64()),
        pa.float64(),
        pa.bool_(),
        pa.string(),
        pa.int64(),
    ],
    ids=str,
)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_hashes_tell_values_apart(type_: Any, data: st.DataObject) -> None:
    elements: Any = {
        "bool": st.booleans(),
        "string": st.text(max_size=2),
        "int64": st.integers(-3, 3),
        "double": st.sampled_from([0.0, 1.5, -2.0]),
    }.get(str(type_))
    if pa.types.is_map(type_):
        elements = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1)), max_size=3)
    elif pa.types.is_list(type_):
        elements = st.lists(st.integers(0, 2), max_size=3)
    values = data.draw(st.lists(st.none() | elements, min_size=1, max_size=12))
    begin = data.draw(st.integers(0, len(values) - 1))
    column = pa.chunked_array([pa.array(values, type_).slice(begin)])
    found = hashes([column], "").tolist()
    told = [repr(one) for one in values[begin:]]
    for (a, x), (b, y) in itertools.product(zip(found, told, strict=True), repeat=2):
        assert (a == b) == (x == y)
