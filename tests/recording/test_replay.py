"""Frames of a recording, from any moment to any other: each is that of the Snapshots that were recorded."""

import itertools
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kmemtrace.errors import ExitStatus, UsageError
from kmemtrace.model.document import snapshot_of as snapshot_of_document
from kmemtrace.model.frame import Frame, Position
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import DamagedError, minutes, named, remove
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.writer import Writer
from tests.prometheus import free_port
from tests.recording.same import assert_same
from tests.recording.source import machine

SAMPLE = Path("sample")
EACH = 4
"""Moments of a minute."""


def record(folder: Path, count: int, seed: int = 1) -> list[Snapshot]:
    with Writer(folder, 1.0) as writer:
        writer.begin({})
        for number, snapshot in enumerate(itertools.islice(machine(seed), count)):
            writer.add(snapshot)
            if number % EACH == EACH - 1:
                writer.finish()
        writer.finish()
    return list(snapshots(folder))


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, list[Snapshot]]:
    """18 moments of one run, in five minutes, and 6 of another."""
    folder = tmp_path / "r"
    record(folder, 18)
    return folder, record(folder, 6, 2)


def expected(made: list[Snapshot], at: int) -> tuple[Snapshot, Snapshot | None]:
    return made[at], made[at - 1] if at not in (0, 18) else None


def number(frame: Frame) -> int:
    """Which frame it is of all that two_runs() has."""
    return frame.position.run * 18 + frame.position.moment


def at(minute: int, offset: int) -> Position:
    """The position of a moment of a minute that two_runs() has."""
    run = minute // 5
    return Position(run, (minute - 5 * run) * EACH + offset, minute)


def test_all_frames_in_their_order(two_runs: tuple[Path, list[Snapshot]]) -> None:
    folder, made = two_runs
    frames = list(Replay(folder).frames())
    assert [(one.snapshot, one.previous) for one in frames] == [expected(made, i) for i in range(24)]
    assert [one.position.run for one in frames] == [0] * 18 + [1] * 6
    parts = [one.part for one in frames]
    assert (parts[0], parts[-1]) == (0.0, 1.0)
    assert parts == sorted(parts)
    assert {one.interval for one in frames} == {1.0}


def test_any_way_through_it(two_runs: tuple[Path, list[Snapshot]]) -> None:
    folder, made = two_runs
    chance, replay = random.Random(3), Replay(folder)
    frame, place = replay.first(), 0
    for _ in range(200):
        by = chance.choice((-9, -4, -1, -1, 1, 1, 2, 7))
        frame, place = replay.moved(frame.position, by), max(0, min(place + by, 23))
        assert number(frame) == place
        assert (frame.snapshot, frame.previous) == expected(made, place)


def test_jumps(two_runs: tuple[Path, list[Snapshot]]) -> None:
    folder, _ = two_runs
    replay = Replay(folder)
    assert number(replay.last()) == 23
    assert number(replay.minute(at(1, 2), 1)) == 8
    assert number(replay.minute(at(1, 2), -1)) == 4
    assert number(replay.minute(at(1, 0), -1)) == 0
    assert number(replay.minute(at(6, 1), 1)) == 23
    assert number(replay.minute(at(0, 0), -1)) == 0
    assert [number(replay.at_part(part)) for part in (0.0, 0.5, 1.0)] == [0, 14, 23]


def test_a_moment_by_its_time(tmp_path: Path) -> None:
    replay = Replay(named(SAMPLE))
    times = [one.snapshot.time for one in replay.frames()]
    for at, seconds in enumerate(times):
        assert replay.at_time(seconds).snapshot.time == seconds
        assert replay.at_time(seconds + 2).snapshot.time == seconds
        assert replay.at_time(seconds - 0.001).snapshot.time == times[max(0, at - 1)]


def test_findings(two_runs: tuple[Path, list[Snapshot]]) -> None:
    """Found, and counted on, at the moments that the Snapshots themselves say; a new run begins anew."""
    folder, made = two_runs
    new = []
    for at in range(24):
        snapshot, before = expected(made, at)
        if not set(snapshot.mismatches) <= set(before.mismatches if before else ()):
            new.append(at)
    assert len(new) > 10
    assert len(new) < 24
    replay = Replay(folder)
    frame, found = replay.first(), []
    while (following := replay.finding(frame.position, 1)) is not None:
        frame = following
        found.append(number(frame))
        assert (frame.snapshot, frame.previous) == expected(made, found[-1])
    assert found == new
    frame, found = replay.last(), []
    while (following := replay.finding(frame.position, -1)) is not None:
        frame = following
        found.append(number(frame))
    assert found == [one for one in reversed(new) if one != 23]


def test_a_recording_that_goes_on(tmp_path: Path) -> None:
    record(tmp_path, 5)
    replay = Replay(tmp_path)
    last = replay.last()
    assert replay.moved(last.position, 1).position == last.position
    made = record(tmp_path, 6)
    assert [one.snapshot for one in replay.frames(replay.moved(last.position, 1))] == made[5:]


def test_minutes_that_are_removed_meanwhile(tmp_path: Path) -> None:
    made = record(tmp_path, 20)
    replay = Replay(tmp_path)
    frame = replay.moved(replay.first().position, 1)
    for one in minutes(tmp_path)[:3]:
        remove(one.path)
    frame = replay.moved(frame.position, 3)
    assert (frame.snapshot, frame.previous) == (made[12], None), "the first that is there still"
    assert replay.moved(frame.position, -1).snapshot == made[12]
    assert replay.moved(at(0, 3), -1).snapshot == made[12]
    for one in minutes(tmp_path):
        remove(one.path)
    with pytest.raises(UsageError, match="has no minute in it yet"):
        replay.moved(frame.position, 8)


def test_one_minute_at_a_time_is_read(two_runs: tuple[Path, list[Snapshot]]) -> None:
    """A minute that is damaged is told when it is wanted, and what is before it can be seen."""
    folder, made = two_runs
    (minutes(folder)[2].path / "cgroups.parquet").write_bytes(b"")
    frames = Replay(folder).frames()
    assert [one.snapshot for one in itertools.islice(frames, 8)] == made[:8]
    with pytest.raises(DamagedError, match="it has 0 bytes"):
        next(frames)
    assert Replay(folder).last().snapshot == made[-1]


def top(*arguments: str, folder: Path, at: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kmemtrace", "top", "--replay", str(folder), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=at)


def test_top_prints_all_frames(tmp_path: Path) -> None:
    made = record(tmp_path / "r", 6)
    done = top("--json", folder=tmp_path / "r")
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for one, other in zip(told, made, strict=True):
        assert_same(snapshot_of_document(one), other)
    assert [one["interval_seconds"] for one in told] == [0.0, *[1.0] * 5]


def test_the_sample_is_at_hand_anywhere(tmp_path: Path) -> None:
    done = top("--once", folder=SAMPLE, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("[2026-11-26 07:02:38 UTC]")
    assert "/shop/web" in done.stdout
    done = top("--batch", "--at", "2026-11-26T08:02:00+01:00", folder=SAMPLE, at=tmp_path)
    assert done.stdout.splitlines()[0].endswith("[2026-11-26 07:01:58 UTC]")
    (tmp_path / "sample").mkdir()
    done = top("--once", folder=SAMPLE, at=tmp_path)
    assert (done.returncode, done.stderr) == (
        ExitStatus.USAGE,
        "kmemtrace: sample is empty: name the folder that `record` wrote.\n",
    ), "a user's own folder comes first"


@pytest.mark.parametrize(
    "given",
    [
        ["--tier", "fentry"],
        ["--cgroup", "/a"],
        ["--max-pages", "1000"],
        ["--no-sites"],
        ["--alloc-latency"],
        ["--objects"],
        ["--max-objects", "1000"],
        ["--census", "off"],
        ["--interval", "2s"],
        ["--duration", "2s"],
        ["--prometheus", "http://localhost"],
    ],
    ids=lambda given: given[0],
)
def test_what_has_no_meaning_for_a_recording(given: list[str]) -> None:
    done = top("--once", *given, folder=SAMPLE)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    assert given[0] in done.stderr
    assert "--replay reads a recording" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_time_without_a_recording() -> None:
    command = [sys.executable, "-m", "kmemtrace", "top", "--at", "2026-11-26", "--once"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr == "kmemtrace: --at is for --replay, which was not given.\n"


def test_export_serves_a_recording_as_it_went(tmp_path: Path) -> None:
    """To its end, and then the last moment; nothing is traced, so that no privilege is needed."""
    made = record(tmp_path, 8)
    port = free_port()
    command = [sys.executable, "-m", "kmemtrace", "export", "--replay", str(tmp_path)]
    process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"kmemtrace: serving")
        seen: list[float] = []
        while not seen or seen[-1] != made[-1].cgroups[0].charged_pages:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                page = bytes(answer.read()).decode()
            (line,) = re.findall(
                r'^kmemtrace_charged_pages_total{cgroup="/counter"} (.*)$', page, re.MULTILINE
            )
            seen.append(float(line))
            time.sleep(0.3)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert seen == sorted(seen)
    assert set(seen) <= {float(one.cgroups[0].charged_pages) for one in made}
    assert len(set(seen)) > 2


def test_export_refuses_what_is_for_tracing() -> None:
    for given in (["--tier", "fentry"], ["--census", "off"], ["--program-stats"]):
        command = [sys.executable, "-m", "kmemtrace", "export", "--replay", "sample", *given]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == ExitStatus.USAGE
        assert f"{given[0]} is for tracing here" in done.stderr
