"""A recording whose writer is killed at any moment loses what was not written yet, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from kmemtrace.recording.reader import files
from kmemtrace.recording.writer import Writer
from tests.recording.source import machine

TIMES = 200


def test_killed_at_any_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.recording.killed", str(tmp_path / "r"), str(TIMES), "7"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["kept"]) == TIMES
    assert sum(1 for n in found["kept"] if n) > TIMES / 4, "most are killed while they write"
    assert found["left_over"] > TIMES / 20, "some are killed in the midst of a minute"
    assert found["merged"], "some had merged minutes"
    assert found["merging"], "and one was killed while it did"


def test_what_a_killed_writer_left_over_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    for _ in range(2):
        with Writer(folder, 1.0) as writer:
            writer.begin({})
            writer.add(next(machine(1)))
            writer.finish()
        (folder / ".partial-00000009-20260301T120000Z").mkdir()
        (folder / ".partial-00000009-20260301T120000Z" / "cgroups.parquet").write_bytes(b"PAR1")
        (folder / ".partial-meta.json").write_bytes(b"{")
        (folder / ".removed-00000000-20260301T120000Z").mkdir()
        assert [file.meta["run"] for file in files(folder)][-1] == len(list(files(folder))) - 1
    with Writer(folder, 1.0):
        assert not [one for one in folder.iterdir() if one.name.startswith(".")]
