"""`kmemtrace verify` as its users run it: a clean command, a broken kernel, too little room."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.model.enums import MismatchClass
from tests.faults.broken import DRIFT
from tests.faults.conftest import FOLDER
from tests.faults.kernel import Kernel
from tests.tracing import new_cgroup

ROOT = Path(__file__).parents[2]
PAGES = 4099
LOST = 7 * 79
PIPES = (
    "from tests.live.workloads import drain_pipes, fill_pipes;"
    f"drain_pipes(fill_pipes({PAGES}))"
)  # fmt: skip


_ATTEMPTS = 5


def verify(*options: str, command: list[str], attempts: int = _ATTEMPTS) -> tuple[int, dict[str, Any]]:
    """Exit status and the JSON report. Again where the kernel happened to skip a program and nothing settled
    what that hid, which leaves no verdict and is not what is tested here."""
    for _ in range(attempts):
        done = subprocess.run(
            [sys.executable, "-m", "kmemtrace", "verify", "--json", *options, "--", *command],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.stderr in ("", "working\n")
        report = json.loads(done.stdout)
        if report["missed_events"] == report["settled_events"]:
            break
    return done.returncode, report


@pytest.mark.usefixtures("_able")
def test_a_clean_command_is_balanced() -> None:
    """Its own output is not in the way of ours."""
    status, report = verify(command=["sh", "-c", f"echo working; exec {sys.executable} -c '{PIPES}'"])
    assert report["mismatches"] == []
    assert (status, report["verdict"]) == (0, "balanced"), report["losses"]
    assert report["command_status"] == 0
    assert report["charged_pages"] >= PAGES
    assert report["charged_pages"] == report["uncharged_pages"] + report["held_pages"]
    assert "counter" in report
    assert report["doubts"] == []


@pytest.mark.usefixtures("_able")
def test_all_was_judged_from_the_commands_begin_on() -> None:
    status, report = verify(command=["true"])
    assert "unsearched" not in report["exempt"]
    assert report["unjudged_uncharges"] == 0
    stray = MismatchClass.STRAY_UNCHARGE
    assert (stray in report["unjudged"]) != (stray in report["unjudged_seconds"])
    assert report["waited_seconds"] >= 0
    assert (status, report["departures"]) == (0, [])


@pytest.mark.usefixtures("_able")
def test_what_leaves_the_cgroup_is_named_and_followed() -> None:
    """Moved, and, where there is cgroup v2, born elsewhere."""
    moved, born = new_cgroup("verify-moved"), new_cgroup("verify-born")
    births = [born] if memory_hierarchy().version == 2 else []
    work = (
        "import sys; from pathlib import Path; from tests.live import workloads as w;"
        "w.join(Path(sys.argv[1])); [w.born_in(Path(f), lambda: None) for f in sys.argv[2:]];"
        f"w.drain_pipes(w.fill_pipes({PAGES}))"
    )
    command = [sys.executable, "-c", work, str(moved), *map(str, births)]
    told = {f"/{folder.name}" for folder in (moved, *births)}
    status, report = verify(command=command)
    assert (status, report["verdict"]) == (3, "inconclusive")
    assert {one["path"] for one in report["departures"]} == told
    status, report = verify("--follow", command=command)
    assert {one["path"] for one in report["departures"]} == told
    assert report["charged_pages"] >= PAGES
    assert report["mismatches"] == []
    assert (status, report["verdict"]) == (
        (3, "inconclusive") if report["missed_events"] else (0, "balanced")
    )
    for folder in (moved, born):
        folder.rmdir()


@pytest.mark.usefixtures("_able")
def test_with_too_little_room_it_is_inconclusive() -> None:
    status, report = verify("--max-pages=64", command=[sys.executable, "-c", PIPES], attempts=1)
    assert (status, report["verdict"]) == (3, "inconclusive")
    assert report["mismatches"] == []
    assert report["missed_events"] >= PAGES // 2


@pytest.mark.parametrize("tier", ["fentry", "tracepoint"])
def test_pages_that_were_lost_are_told(kernel: Kernel, tier: str) -> None:
    """By function probes as what each finding costs, which explains the counter; without, by the counter
    alone, which nothing explains: no verdict then. Where the kernel has no figure for kernel memory, the
    counter is held against all its parts."""
    command = [sys.executable, "-m", "tests.faults.losing", os.environ[FOLDER], str(LOST // 7)]
    status, report = verify(f"--tier={tier}", command=command, attempts=1)
    counted = report["counter"].get("kernel")
    assert report["charged_pages"] == sum(report[f"{what}_pages"] for what in ("uncharged", "lost", "held"))
    found = {m["class"] for m in report["mismatches"]}
    if tier == "fentry":
        assert (status, found) == (1, {"size_mismatch"})
        suspected = sum(m["lost_pages"] for m in report["mismatches"] if m["confidence"] == "suspect")
        assert sum(m["lost_pages"] for m in report["mismatches"]) == LOST
        assert report["lost_pages"] == LOST - suspected
        assert report["exempt"].get("unfollowed", 0) == 0
        assert counted is None or counted["known"].get("lost", 0) == LOST - suspected
        assert counted is None or abs(counted["unexplained_pages"] - suspected) <= counted["slack_pages"]
    elif counted is None:
        assert (status, found) == (1, {"counter_drift"})
    else:
        assert (status, report["verdict"], found) == (3, "inconclusive", set())
        assert abs(counted["unexplained_pages"] - LOST) <= counted["slack_pages"]
        assert "nothing explains" in report["doubts"][0]


def test_a_broken_kernel_is_caught(kernel: Kernel, tmp_path: Path) -> None:
    """Two pages that changed owners, and a counter that moved, each told with its evidence. Of the other
    cgroup nothing is followed: what its page takes from the command's was never charged there."""
    other, junit = new_cgroup("verify-other"), tmp_path / "kmem.xml"
    command = [sys.executable, "-m", "tests.faults.broken", os.environ[FOLDER], str(other)]
    status, report = verify(f"--junit={junit}", command=command, attempts=1)
    other.rmdir()
    assert (status, report["verdict"]) == (1, "mismatch")
    found = {m["class"]: m for m in report["mismatches"]}
    assert found.keys() == {"wrong_cgroup", "stray_uncharge", "counter_drift"}
    assert {m["confidence"] for m in found.values()} == {"certain"}
    wrong = found["wrong_cgroup"]
    assert wrong["charged_to"].startswith("/kmemtrace-verify-")
    assert wrong["uncharged_from"].endswith(other.name)
    assert found["stray_uncharge"]["uncharged_from"] == wrong["charged_to"]
    assert any(frame.startswith("__alloc_") for frame in wrong["alloc_stack"])
    assert any("free" in frame for frame in wrong["free_stack"])
    counter = report["counter"]
    drift = counter["charged_pages"] - sum(counter["parts"].values())
    assert DRIFT - counter["slack_pages"] <= drift <= DRIFT + counter["slack_pages"]
    cases = {case.attrib["name"]: case for case in ET.parse(junit).iter("testcase")}
    assert cases.keys() - {"no page unexplained"} == {
        *MismatchClass,
        "no event missed",
        "the command succeeded",
        "no process went where it was not followed",
        "no process left behind",
    }
    assert "charged to" in (cases["wrong_cgroup"].findtext("failure") or "")
    assert cases["counter_drift"].find("failure") is not None
    assert cases["stray_uncharge"].find("failure") is not None
    assert cases["lost_uncharge"].find("failure") is None
