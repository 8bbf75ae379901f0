"""What a recording may meet: other writers, clocks that are set, disks that fill, readers meanwhile."""

import dataclasses
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmemtrace.errors import OutputError, UsageError
from kmemtrace.model.comparison import RowKey, RowKind
from kmemtrace.model.document import mismatch_document
from kmemtrace.recording.folder import minutes
from kmemtrace.recording.load import load
from kmemtrace.recording.parts import side_of
from kmemtrace.recording.reader import files, snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.rotation import Limits, Now
from kmemtrace.recording.writer import Writer
from tests.recording.same import assert_same
from tests.recording.source import machine

HOUR = 3600.0


class Clocks:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.time, self.boot_id, self.boot_seconds = 1_780_000_000.0, "a", 100.0

    def __call__(self) -> Now:
        return Now(self.time, self.boot_id, self.boot_seconds)

    def passes(self, seconds: float) -> None:
        self.time += seconds
        self.boot_seconds += seconds


def minute_each(folder: Path, count: int, limits: Limits, after: Callable[[], None], now: Clocks) -> None:
    """Records `count` minutes of a Snapshot each, and has something happen after each."""
    with Writer(folder, HOUR, limits, now=now) as writer:
        writer.begin({})
        for snapshot in itertools.islice(machine(1), count):
            assert writer.add(snapshot), "an interval as long as a minute: each is a file of its own"
            after()


def numbers(folder: Path) -> list[int]:
    return [one.number for one in minutes(folder)]


def test_the_oldest_go_when_the_whole_is_too_large(tmp_path: Path) -> None:
    clocks = Clocks()
    minute_each(tmp_path, 2, Limits(), lambda: None, clocks)
    most = 5 * minutes(tmp_path)[1].bytes()
    minute_each(tmp_path, 10, Limits(bytes=most), lambda: None, clocks)
    kept = numbers(tmp_path)
    assert len(kept) > 1
    assert kept == list(range(kept[0], 12))
    assert sum(one.bytes() for one in minutes(tmp_path)) <= most


def test_the_newest_stays_however_large_it_is(tmp_path: Path) -> None:
    minute_each(tmp_path, 3, Limits(bytes=1), lambda: None, Clocks())
    assert numbers(tmp_path) == [2]


def test_those_that_are_too_old_go(tmp_path: Path) -> None:
    clocks = Clocks()
    minute_each(tmp_path, 10, Limits(seconds=3.5 * HOUR), lambda: clocks.passes(HOUR), clocks)
    assert numbers(tmp_path) == [6, 7, 8, 9]
    clocks.boot_id, clocks.boot_seconds = "b", 1.0  # another boot, where only the clock tells
    minute_each(tmp_path, 2, Limits(seconds=3.5 * HOUR), lambda: clocks.passes(HOUR), clocks)
    assert numbers(tmp_path) == [8, 9, 10, 11]


@pytest.mark.parametrize("years", [-40, 40])
def test_a_clock_that_is_set_makes_nothing_old_and_changes_no_order(years: int, tmp_path: Path) -> None:
    clocks = Clocks()
    set_once = iter([years])

    def set_clock() -> None:
        clocks.time += next(set_once, 0) * 365 * 24 * HOUR
        clocks.passes(60.0)

    minute_each(tmp_path, 4, Limits(seconds=HOUR), set_clock, clocks)
    assert numbers(tmp_path) == [0, 1, 2, 3]
    back = list(snapshots(tmp_path))
    for one, other in zip(back, itertools.islice(machine(1), 4), strict=True):
        assert_same(one, other)


def test_snapshots_whose_clock_is_set_back_keep_their_order(tmp_path: Path) -> None:
    made = list(itertools.islice(machine(1), 6))
    given = [dataclasses.replace(one, time=one.time - (HOUR if i > 2 else 0)) for i, one in enumerate(made)]
    with Writer(tmp_path, 1.0) as writer:
        writer.begin({})
        for snapshot in given:
            writer.add(snapshot)
        writer.finish()
    for one, other in zip(snapshots(tmp_path), given, strict=True):
        assert_same(one, other)
    found = load(tmp_path)
    assert list(found.snapshots["moment"]) == list(range(6))
    (counter,) = found.state("cgroups").query("path == '/counter'")["charged_pages"]
    assert counter == 1005
    frames = list(Replay(tmp_path).frames())
    assert [one.snapshot.time for one in frames] == [one.time for one in given]
    assert [frames[0].previous, *[one.previous for one in frames[1:]]] == [
        None,
        *[one.snapshot for one in frames[:-1]],
    ]
    side = side_of(tmp_path, "r")
    assert [part.seconds for part in side.parts] == [1.0] * 5, "by a clock that nobody sets"


def test_two_runs_follow_each_other(tmp_path: Path) -> None:
    for seed in (1, 2):
        with Writer(tmp_path, 1.0) as writer:
            writer.begin({"kernel": f"6.{seed}"})
            for snapshot in itertools.islice(machine(seed), 3):
                writer.add(snapshot)
            writer.finish()
    assert [(f.meta["run"], f.meta["moments"], f.meta["kernel"]) for f in files(tmp_path)] == [
        (0, [0, 2], "6.1"),
        (1, [0, 2], "6.2"),
    ]
    given = [*itertools.islice(machine(1), 3), *itertools.islice(machine(2), 3)]
    for one, other in zip(snapshots(tmp_path), given, strict=True):
        assert_same(one, other)
    assert json.loads((tmp_path / "meta.json").read_text())["kernel"] == "6.2"


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with Writer(tmp_path, 1.0), pytest.raises(UsageError, match="is being recorded into already"):
        Writer(tmp_path, 1.0).__enter__()
    with Writer(tmp_path, 1.0):
        pass


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(UsageError, match="has other files in it"):
        Writer(tmp_path, 1.0).__enter__()
    assert [one.name for one in tmp_path.iterdir()] == ["letter"]


def test_only_its_owner_reads_a_new_recording(tmp_path: Path) -> None:
    """It tells addresses of kernel memory."""
    with Writer(tmp_path / "r", 1.0):
        assert (tmp_path / "r").stat().st_mode & 0o777 == 0o700


def test_findings_as_lines(tmp_path: Path) -> None:
    """Those that are new, or counted on, each once; at the begin of a minute all."""
    made = list(itertools.islice(machine(1), 10))
    with Writer(tmp_path, 1.0) as writer:
        writer.begin({})
        for number, snapshot in enumerate(made):
            writer.add(snapshot)
            if number == 4:
                writer.finish()
        writer.finish()
    found = [
        json.loads(line)
        for one in minutes(tmp_path)
        for line in (one.path / "findings.jsonl").read_text().splitlines()
    ]
    expected = []
    known: frozenset[object] = frozenset()
    for number, snapshot in enumerate(made):
        known = frozenset() if number == 5 else known
        new = [one for one in snapshot.mismatches if one not in known]
        expected += [{"moment": number, **mismatch_document(one)} for one in new]
        known = frozenset(snapshot.mismatches)
    assert found == expected
    assert {one["count"] for one in found} == {1, 2, 3}


def test_read_while_it_is_written_and_rotated(tmp_path: Path) -> None:
    """By a reader that goes through it again and again: each time whole minutes in their order."""
    end, failures = threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            while not end.is_set():
                try:
                    back = [s.cgroups[0].charged_pages - 1000 for s in snapshots(tmp_path)]
                    replayed = [f.snapshot.cgroups[0].charged_pages - 1000 for f in Replay(tmp_path).frames()]
                    assert replayed == sorted(set(replayed))
                    frames = load(tmp_path)
                except UsageError as error:
                    assert "no minute in it yet" in str(error) or "is empty" in str(error)  # noqa: PT017
                    continue
                assert back == sorted(set(back))
                if len(back) > 1:  # what is removed meanwhile is missing, and nothing is counted twice
                    side = side_of(tmp_path, "r")
                    of = [part.rows[RowKey(RowKind.CGROUP, "/counter")].charged for part in side.parts]
                    assert 0 < sum(of) <= 250 * 4096
                assert not frames.state("cgroups").empty
        except BaseException as error:  # noqa: BLE001 told by the main thread
            failures.append(error)

    with Writer(tmp_path, 0.0, Limits(bytes=200_000), minute=0.02) as writer:
        writer.begin({})
        reader = threading.Thread(target=read)
        reader.start()
        for snapshot in itertools.islice(machine(3), 250):
            writer.add(snapshot)
        end.set()
        reader.join()
    assert not failures, failures
    assert numbers(tmp_path)[0] > 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 K."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only")
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "kmemtrace-test", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_the_minutes_that_do_not_fit(small_disk: Path) -> None:
    folder, made = small_disk / "r", list(itertools.islice(machine(1), 40))
    lost = []
    with Writer(folder, HOUR) as writer:
        writer.begin({})
        for number, snapshot in enumerate(made):
            try:
                writer.add(snapshot)
            except OutputError as error:
                assert "No space left on device" in str(error)  # noqa: PT017
                lost.append(number)
                if len(lost) == 3:  # somebody makes room
                    (oldest, *_) = minutes(folder)
                    for file in [*oldest.path.iterdir()]:
                        file.unlink()
                    oldest.path.rmdir()
            assert not [one for one in folder.iterdir() if one.name.startswith(".")]
    assert lost[:3] == list(range(lost[0], lost[0] + 3))
    assert lost[2] + 1 not in lost, "it went on when there was room again"
    kept = [one for number, one in enumerate(made) if number not in lost][1:]
    for one, other in zip(snapshots(folder), kept, strict=True):
        assert_same(one, other)
