"""What a report tells of a recording whose old minutes were merged is what it tells of all Snapshots."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmemtrace.history.history import History, read
from kmemtrace.history.latencies import latencies
from kmemtrace.history.page import page
from kmemtrace.history.summary import document
from kmemtrace.history.text import report
from kmemtrace.recording import rotation
from kmemtrace.recording.folder import minutes
from kmemtrace.recording.rotation import Detail
from kmemtrace.recording.writer import Writer
from kmemtrace.text import utc
from tests.history.recorded import ABOUT, machine
from tests.recording.source import BEGAN

STEP = 10.0


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same 120 seconds, as they were recorded and with all but the newest minutes merged."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rotation, "_MINUTES", 1)
        for name, detail in (("whole", None), ("merged", Detail(0.0, 0, STEP))):
            with Writer(folder / name, 1.0, detail=detail, minute=1e9) as writer:
                writer.begin(ABOUT)
                for number, snapshot in enumerate(islice(machine(5), 120)):
                    writer.add(snapshot)
                    if number % 7 == 6:
                        writer.finish()
                        writer.merge()
                writer.finish()
    return folder / "whole", folder / "merged"


def told(history: History) -> dict[str, Any]:
    """All that does not depend on how many Snapshots there are."""
    found: dict[str, Any] = json.loads(json.dumps(document(history)))
    for name in ("snapshots", "merged"):
        found.pop(name, None)
    for row in found["cgroups"]:
        del row["peak_bytes"]
    return found


def test_it_tells_the_same(both: tuple[Path, Path]) -> None:
    whole, merged = (read(folder, 2) for folder in both)
    assert len(minutes(both[1])) < len(minutes(both[0])) / 4
    assert whole.timeline.moments == 120
    assert merged.timeline.moments < 40
    assert told(merged) == told(whole)
    assert len(document(whole)["cgroups"]) > 20, "some came and went"


def held(history: History) -> dict[int, dict[int, int]]:
    """By the last moment of each point, what each cgroup held, by its id."""
    names, bins = len(history.names), history.timeline.bins
    rows = history.cgroups.grouped("held", np.arange(names), names, len(bins))
    ids = [one["id"] for one in history.cgroups.details]
    found = {}
    for place, bin_ in enumerate(bins):
        found[bin_.last] = {id_: n for id_, n in zip(ids, rows[:, place].tolist(), strict=True) if n}
    return found


def test_each_point_is_what_it_was(both: tuple[Path, Path]) -> None:
    whole, merged = (held(read(folder, 120)) for folder in both)
    assert merged == {moment: whole[moment] for moment in merged}
    assert len(merged) > 20


def test_durations_add_up(both: tuple[Path, Path]) -> None:
    whole, merged = (read(folder, 2) for folder in both)
    of_whole, of_merged = (latencies(one, {}, lambda _: None) for one in (whole, merged))
    assert of_merged["lifetime"][0].sum(axis=0).tolist() == of_whole["lifetime"][0].sum(axis=0).tolist()


def test_a_range_within_what_was_merged(both: tuple[Path, Path]) -> None:
    """It begins and ends at Snapshots that are there; what was charged is what it was between these."""
    whole, merged = (read(folder, 2, utc(BEGAN + 19), utc(BEGAN + 79)) for folder in both)
    assert told(merged) == told(whole)


def test_it_says_so(both: tuple[Path, Path]) -> None:
    words = f"one Snapshot is left each {STEP:g}s; what was higher in between is in no PEAK"
    for folder, there in zip(both, (False, True), strict=True):
        history = read(folder, 60)
        assert (words in report(history, document(history), 5)) == there
        assert (words in page(history)) == there
    late = read(both[1], 60, utc(BEGAN + 114))
    assert "merged" not in document(late)
