"""`kmemtrace report` as its user has it: summary, JSON, errors and exit statuses."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from kmemtrace.recording.reader import snapshots
from tests.history.recorded import SAMPLE, machine, record
from tests.sample import cgroup, mismatch, site, snapshot


def report(
    *arguments: str | Path, status: int = 0, env: Mapping[str, str] | None = None, stderr: bool = False
) -> str:
    """What it prints: of a status that is not 0, or where asked for, its one or two sentences."""
    command = [sys.executable, "-m", "kmemtrace", "report", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == status, done.stderr
    if not status and not stderr:
        assert done.stderr == ""
        return done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("kmemtrace: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_the_summary_tells_losses_first_and_what_held_most() -> None:
    lines = report(SAMPLE).splitlines()
    last = list(snapshots(SAMPLE))[-1]
    assert last.kernel in lines[0]
    assert "17 Snapshots" in lines[1]
    assert lines[2].startswith("missed: 81 events")
    at = lines.index("CGROUPS THAT HOLD MOST")
    assert [line.split()[-1] for line in lines[at + 2 : at + 5]] == ["/shop/web", "/shop/db", "/shop/batch"]
    assert lines[at + 2].split()[0] == "12M"
    at = lines.index("REMOVED CGROUPS THAT HOLD PAGES")
    assert "/shop/batch" in lines[at + 2]
    assert "anon_pipe_write 2.0M" in lines[at + 2]
    assert lines[at + 2].endswith("counted to /shop")
    assert lines[-1] == "No mismatch was found."


def test_the_json_has_all_rows() -> None:
    told = json.loads(report(SAMPLE, "--json"))
    last = list(snapshots(SAMPLE))[-1]
    assert {c["path"]: c["held_bytes"] for c in told["cgroups"]} == {
        c.path: c.held_pages * 4096 for c in last.cgroups
    }
    assert {c["path"]: c["charged_bytes"] for c in told["cgroups"]} == {
        c.path: c.charged_pages * 4096 for c in last.cgroups
    }
    assert told["held_bytes"] == 4096 * last.held_pages
    assert sum(one["held_bytes"] for one in told["sites"]) == told["held_bytes"]
    assert last.census is not None
    assert {c["cache"]: c["bytes"] for c in told["caches"]} == {c.cache: c.bytes for c in last.census.caches}
    assert told["runs"][0]["losses"]["recursion_misses"] == told["missed_events"] == last.losses.missed_events
    assert told["dying_cgroups"] == last.census.dying_cgroups
    assert [one["path"] for one in told["dead"]] == ["/shop/batch"]
    assert told["dead"][0]["dead_since"] > told["begin"]


def test_findings_are_told_with_their_evidence(tmp_path: Path) -> None:
    record(tmp_path / "r", islice(machine(4), 20))
    told = report(tmp_path / "r")
    assert "MISMATCHES" in told
    one = mismatch()
    assert f"page {one.page:#x}" in told
    assert one.alloc_stack[0] in told
    found = json.loads(report(tmp_path / "r", "--json"))["findings"]
    assert [(one["pid"], one["count"]) for one in found] == [(0, 6), (1, 4), (2, 3)]
    # Of a run that ended before, too.
    record(tmp_path / "r", [next(machine(4))])
    assert [one["run"] for one in json.loads(report(tmp_path / "r", "--json"))["findings"]] == [0, 0, 0]


def test_names_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    name = "/a\x1b[2J\n\u202ecgroup"
    record(tmp_path / "r", [snapshot(cgroup(name, (site(9),), dead=True))])
    told = report(tmp_path / "r")
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "/a?[2J??cgroup" in told


def test_a_recording_without_any_charge(tmp_path: Path) -> None:
    record(tmp_path / "r", [snapshot()])
    told = report(tmp_path / "r")
    assert "by 0 cgroups" in told
    assert "No mismatch was found." in told
    assert report(tmp_path / "r", "--folded") == "\n"
    assert report(tmp_path / "r", "--csv").count("\n") == 1


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    (tmp_path / "file").touch()
    for name, words in (
        ("nothing", "There is no folder"),
        ("empty", "is empty"),
        ("other", "is no recording"),
        ("file", "is a file"),
    ):
        assert words in report(tmp_path / name, status=2)
    assert "is a minute of a recording" in report(next(SAMPLE.glob("0*")), status=2)
    shutil.copytree(SAMPLE, tmp_path / "begun")
    for minute in (tmp_path / "begun").glob("0*"):
        shutil.rmtree(minute)
    assert "no minute in it yet" in report(tmp_path / "begun", status=2)


def test_wrong_usage() -> None:
    assert "Nothing was recorded in that range" in report(SAMPLE, "--from", "2031-01-01", status=2)
    assert "is no time" in report(SAMPLE, "--to", "noon", status=2)


@pytest.mark.parametrize("table", ["cgroups", "sites", "snapshots", "losses"])
def test_a_damaged_file_is_told_by_its_name(tmp_path: Path, table: str) -> None:
    shutil.copytree(SAMPLE, tmp_path / "r")
    file = max((tmp_path / "r").glob("0*")) / f"{table}.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    told = report(tmp_path / "r", status=3)
    assert str(file) in told
    assert "is damaged" in told


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError(name='pyarrow')")
    told = report(SAMPLE, status=4, env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"})
    assert "pip install 'kmemtrace[report]'" in told


def test_it_reads_while_it_is_written(tmp_path: Path) -> None:
    record(tmp_path / "r", islice(machine(1), 10))
    (tmp_path / "r" / ".partial-00000009-20260301T120000Z").mkdir()
    assert "10 Snapshots" in report(tmp_path / "r")
