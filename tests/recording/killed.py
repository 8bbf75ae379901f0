"""Kills a process that records, again and again, at any moment, and looks at what is there then.

It is run as a process of its own: `python -m tests.recording.killed FOLDER TIMES SEED` forks each recording,
so that pyarrow is imported once, and prints what it found as JSON.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from kmemtrace.errors import UsageError
from kmemtrace.recording.folder import META, minutes, unsealed
from kmemtrace.recording.parts import side_of
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.rotation import Limits
from kmemtrace.recording.writer import Writer
from tests.recording.same import assert_same
from tests.recording.source import machine

_MINUTE = 0.01
_MOST_BYTES = 200_000


def record(folder: Path, told: int, seed: int) -> None:
    """Records until it is killed; tells of each minute by the numbers of the Snapshots that are on disk."""
    with Writer(folder, 0.0, Limits(bytes=_MOST_BYTES), minute=_MINUTE) as writer:
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
    more, whose telling was killed."""
    found = [unsealed(one.path / META) for one in minutes(folder)]
    of_run = [meta["moments"] for meta in found if meta["run"] == run]
    numbers = [n for first, last in of_run for n in range(first, last + 1)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else newest == -1
    assert not numbers or numbers[-1] >= newest
    back = list(snapshots(folder))[-len(numbers) :] if numbers else []
    made = machine(seed)
    expected = [next(made) for _ in range(numbers[-1] + 1)][numbers[0] :] if numbers else []
    for one, other in zip(back, expected, strict=True):
        assert_same(one, other)
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
    warm_up()
    most = 2.5 * first_minute()
    runs = left_over = 0
    kept = []
    for number in range(times):
        newest = killed(folder, number, chance.uniform(0.0, most))
        left_over += any(one.name.startswith(".") for one in folder.iterdir()) if folder.exists() else 0
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
        assert not any(frame.position.offset for frame in Replay(folder).frames())
    print(json.dumps({"kept": kept, "left_over": left_over}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
