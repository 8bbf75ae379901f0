"""Kills a process that records, again and again, at any moment, and looks at what is there then.

It is run as a process of its own: `python -m tests.recording.killed FOLDER TIMES SEED` forks each recording,
so that pyarrow is imported once, and prints what it found as JSON.
"""

import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from kmemtrace.errors import UsageError
from kmemtrace.recording import rotation
from kmemtrace.recording.folder import minutes
from kmemtrace.recording.parts import side_of
from kmemtrace.recording.reader import files, snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.rotation import Detail, Limits
from kmemtrace.recording.writer import Writer
from tests.recording.same import assert_same
from tests.recording.source import machine

_MINUTE = 0.01
_MOST_BYTES, _MOST_WHOLE = 1_000_000, 100_000
_STEP = 5
_DETAIL = Detail(seconds=0.02, bytes=_MOST_WHOLE, step=_STEP)


def record(folder: Path, told: int, seed: int) -> None:
    """Records until it is killed; tells of each minute by the numbers of the Snapshots that are on disk."""
    with Writer(folder, 0.0, Limits(bytes=_MOST_BYTES), detail=_DETAIL, minute=_MINUTE) as writer:
        writer.begin({})
        for number, snapshot in enumerate(machine(seed)):
            if writer.add(snapshot):
                os.write(told, number.to_bytes(4, "little"))


def killed(folder: Path, seed: int, seconds: float) -> int:
    """The number of the newest Snapshot that was on the disk by then; -1: none."""
    reading, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            record(folder, telling, seed)
        finally:
            os._exit(1)
    os.close(telling)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it had ended by itself"
    told = b""
    while part := os.read(reading, 1 << 16):
        told += part
    os.close(reading)
    return int.from_bytes(told[-4:], "little") if told else -1


def looked_at(folder: Path, run: int, seed: int, newest: int) -> int:
    """How many Snapshots of the run are there: all from some on to the newest that was told of, or a minute
    more, whose telling was killed; of those that were merged the last of each step."""
    of_run = [file for file in files(folder) if file.meta["run"] == run] if minutes(folder) else []
    covered = [n for file in of_run for n in range(file.meta["moments"][0], file.meta["moments"][1] + 1)]
    assert covered == list(range(covered[0], covered[-1] + 1)) if covered else newest == -1
    assert not covered or covered[-1] >= newest
    numbers = []
    for file in of_run:
        (first, last), there = file.meta["moments"], file.tables["snapshots"]["moment"].to_pylist()
        stay = [n for n in range(first, last + 1) if n in (0, last) or n % _STEP == _STEP - 1]
        assert there == (stay if file.minute.is_merged else list(range(first, last + 1)))
        numbers += there
    back = list(snapshots(folder))[-len(numbers) :] if numbers else []
    made = machine(seed)
    expected = list(itertools.islice(made, numbers[-1] + 1)) if numbers else []
    for one, number in zip(back, numbers, strict=True):
        assert_same(one, expected[number])
    return len(numbers)


def warm_up() -> None:
    """What pyarrow does at its first file takes longer than all else, and each process forked has it then."""
    with tempfile.TemporaryDirectory() as folder, Writer(Path(folder), 1.0) as writer:
        writer.begin({})
        writer.add(next(machine(1)))
        writer.finish()


def first_minute() -> float:
    """How many seconds a recording takes on this machine, as busy as it is, until a minute is on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = 0.05
        while killed(Path(folder) / str(seconds), 1, seconds) < 0:
            seconds *= 1.5
        return seconds


def main(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    rotation._MINUTES = 2  # so that one is killed while it merges
    warm_up()
    most = 4 * first_minute()
    runs = left_over = merging = merged = 0
    kept = []
    for number in range(times):
        newest = killed(folder, number, chance.uniform(0.0, most))
        names = [one.name for one in folder.iterdir()] if folder.exists() else []
        left_over += any(one.startswith(".") for one in names)
        # Killed while it was written; or after, and before its minutes were removed.
        merging += any(one.startswith(".partial-") and one.count("-") == 3 for one in names)
        merging += bool(names) and sum(one[0].isdigit() for one in names) > len(minutes(folder))
        merged += any(one[0].isdigit() and one.count("-") == 2 for one in names)
        is_begun = (folder / "meta.json").exists()
        run = json.loads((folder / "meta.json").read_text())["run"] if is_begun else -1
        began = run >= runs  # else it was killed before its run began, and there is nothing of it
        assert began or newest == -1
        kept.append(looked_at(folder, run, number, newest) if began else 0)
        runs = run + 1
    # What all of them left can be shown and compared, too.
    frames, back = Replay(folder).frames(), snapshots(folder)
    assert all(frame.snapshot == one for frame, one in zip(frames, back, strict=True))
    try:
        assert side_of(folder, "killed").parts
    except UsageError:  # on a busy machine each was killed at its first moment
        assert not any(frame.position.moment for frame in Replay(folder).frames())
    print(json.dumps({"kept": kept, "left_over": left_over, "merging": merging, "merged": merged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
