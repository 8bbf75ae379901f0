"""`record` on this host's kernel: what a recording has is what the tracer's Snapshots had, to the page."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.model.enums import CgroupState
from kmemtrace.recording.load import load
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.writer import Writer
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.test_command import COMMAND
from tests.live.test_workloads import PIPE_WRITE
from tests.live.workloads import held_in, run_in
from tests.recording.same import assert_same

MakeCgroup = Callable[[str], Path]
PAGES = 4099


def test_snapshots_of_pipes_come_back_as_they_were(
    tracer: Tracer, make_cgroup: MakeCgroup, tmp_path: Path
) -> None:
    folder, made = make_cgroup("recorded"), []

    def take() -> None:
        made.append(dataclasses.replace(tracer.snapshot(), old=None))
        writer.add(made[-1])

    with Writer(tmp_path, 1.0) as writer:
        writer.begin({})
        take()
        for _ in range(3):
            with held_in(folder, lambda: workloads.fill_pipes(PAGES)):
                take()
        writer.finish()
        folder.rmdir()
        take()
        take()
        writer.finish()
    for back, snapshot in zip(snapshots(tmp_path), made, strict=True):
        assert_same(back, snapshot)
    for frame, snapshot in zip(Replay(tmp_path).frames(), made, strict=True):
        assert_same(frame.snapshot, snapshot)
    found = load(tmp_path)
    sites = found.sites.merge(found.cgroups[["moment", "id", "hierarchy"]], on=["moment", "id", "hierarchy"])
    pipes = sites[(sites["path"] == f"/{folder.name}") & sites["symbol"].isin(PIPE_WRITE)]
    charged = pipes.groupby("moment")["charged_pages"].sum()
    assert list(charged)[:3] == [PAGES, 2 * PAGES, 3 * PAGES]


@pytest.mark.own_tracer
def test_record_as_its_users_run_it(tracer: Tracer, make_cgroup: MakeCgroup, tmp_path: Path) -> None:
    """Pages of pipes, to the page, of a cgroup that is removed; ended by a signal, which is its usual end."""
    folder, output = make_cgroup("recorded"), tmp_path / "r"
    recording = subprocess.Popen(
        [*COMMAND, "record", "-o", str(output), "--interval", "200ms"], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (output / "meta.json").exists():  # written when it traces
            assert recording.poll() is None, recording.stderr and recording.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(PAGES)))
        time.sleep(0.5)
        folder.rmdir()
        time.sleep(1.0)
    finally:
        recording.send_signal(signal.SIGINT)
        _, told = recording.communicate(timeout=60)
    assert recording.returncode == 0, told
    assert told.startswith("kmemtrace: Recorded "), told
    found = load(output)
    assert (found.meta["kernel"], found.meta["tier"]) == (tracer.plan.release, tracer.plan.tier)
    assert found.meta["plan"]["events"]["alloc"]["mechanisms"]
    rows = found.sites[(found.sites["path"] == f"/{folder.name}") & found.sites["symbol"].isin(PIPE_WRITE)]
    newest = rows[rows["present"]].iloc[-1]
    assert (newest["charged_pages"], newest["uncharged_pages"]) == (PAGES, PAGES)
    states = found.cgroups[found.cgroups["path"] == f"/{folder.name}"]["state"]
    assert set(states) <= {one.value for one in CgroupState}
    assert f"/{folder.name}" not in set(found.state("cgroups")["path"].dropna())


def row_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    """What a frame tells of a cgroup that both tracers saw in the same way: not how old it is, and in which
    order call sites stand that hold the same."""
    (row,) = (one for one in document["cgroups"] if one["path"] == path)
    sites = sorted((one["kind"], one["symbol"], one["stack"], one["charged_pages"]) for one in row["sites"])
    told = {name: row[name] for name in row if name.endswith("_pages")}
    return {**told, "sites": sites, "mismatches": row["mismatches"], "state": row["state"]}


@pytest.mark.own_tracer
def test_replay_tells_what_top_told(tracer: Tracer, make_cgroup: MakeCgroup, tmp_path: Path) -> None:
    """Of the same pages, to the page, by cgroup, call site and class: `top` and `record` side by side."""
    folder, output = make_cgroup("replayed"), tmp_path / "r"
    every = ["--interval", "200ms", "--census", "off"]
    recording = subprocess.Popen([*COMMAND, "record", "-o", str(output), *every], stderr=subprocess.DEVNULL)
    # Into a file: a pipe that nobody reads meanwhile would be full, and its last line cut by the signal.
    shown = tmp_path / "shown"
    with shown.open("w") as file:
        watching = subprocess.Popen([*COMMAND, "top", "--json", *every], stdout=file)
    try:
        deadline = time.monotonic() + 60
        while not (output / "meta.json").exists() or not shown.stat().st_size:  # both trace
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        with held_in(folder, lambda: workloads.fill_pipes(PAGES)):
            run_in(folder, lambda: workloads.drain_pipes(workloads.fill_pipes(PAGES)))
            time.sleep(1.0)
            for process in (recording, watching):
                process.send_signal(signal.SIGINT)
            watching.wait(60)
            assert recording.wait(60) == 0
    finally:
        for process in (recording, watching):
            process.kill()
            process.wait()
    command = [*COMMAND, "top", "--replay", str(output), "--once", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    live, replayed = json.loads(shown.read_text().splitlines()[-1]), json.loads(done.stdout)
    assert row_of(replayed, f"/{folder.name}") == row_of(live, f"/{folder.name}")
    pipes = [one for one in row_of(replayed, f"/{folder.name}")["sites"] if one[1] in PIPE_WRITE]
    assert sum(one[3] for one in pipes) == 2 * PAGES
    assert replayed["tier"] == tracer.plan.tier


@pytest.mark.own_tracer
def test_record_of_a_command_ends_with_it(tracer: Tracer, tmp_path: Path) -> None:
    command = [*COMMAND, "record", "-o", str(tmp_path / "r"), "--interval", "100ms", "--census", "off", "--"]
    code = "import time; time.sleep(0.5); print('done'); raise SystemExit(7)"
    done = subprocess.run(
        [*command, sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "ended with status 7." in done.stderr
    assert len(load(tmp_path / "r").snapshots) > 2


@pytest.mark.own_tracer
def test_what_record_refuses(tracer: Tracer, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    for arguments, words in (
        (["-o", str(tmp_path), "--duration", "1s"], "is no recording"),
        (["-o", str(tmp_path / "letter"), "--duration", "1s"], "cannot be written"),
        (["-o", str(tmp_path / "r"), "--duration", "1s", "--", "true"], "leave one of them out"),
        (["-o", str(tmp_path / "r"), "--", "no-such-command"], "is not a command"),
        (["-o", str(tmp_path / "r"), "--max-size", "7"], "is no size from 1M"),
    ):
        done = subprocess.run([*COMMAND, "record", *arguments], check=False, capture_output=True, text=True)
        assert done.returncode in (2, 4), done.stderr
        assert words in done.stderr
        assert not (tmp_path / "r").exists()
