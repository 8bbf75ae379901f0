"""Recordings for the tests of what a report tells, made of Snapshots that are made up."""

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.recording.folder import named
from kmemtrace.recording.writer import Writer
from tests.recording.source import at, grown

SAMPLE = named(Path("sample"))
ABOUT = {"kernel": "6.18.44-amd64", "tier": "tracepoint"}


def record(folder: Path, snapshots: Iterable[Snapshot], a_minute: int = 7, interval: float = 1.0) -> None:
    """Writes a run, a minute of which has so many Snapshots."""
    with Writer(folder, interval) as writer:
        writer.begin(ABOUT)
        for number, snapshot in enumerate(snapshots):
            writer.add(snapshot)
            if number % a_minute == a_minute - 1:
                writer.finish()
        writer.finish()


def machine(seed: int) -> Iterator[Snapshot]:
    """Snapshots without end, a second apart, of cgroups that grow, and that never come back once they went.

    /counter is charged 1000 pages and the Snapshot's number.
    """
    chance, growth, born = random.Random(seed), [0] * 12, list(range(12))
    number = 0
    while True:
        for which in chance.sample(range(len(growth)), 3):
            growth[which] += chance.randrange(50)
        if number % 4 == 3:
            which = chance.randrange(len(growth))
            growth[which], born[which] = 0, max(born) + 1
        some = [grown(i, size) for i, size in zip(born, growth, strict=True) if size]
        yield at(number, some)
        number += 1


def made_up(folder: Path, seed: int, count: int) -> list[Snapshot]:
    """Records a machine whose cgroups come, grow and go, and returns what was recorded."""
    found = list(islice(machine(seed), count))
    record(folder, found)
    return found
