"""`kmemtrace verify` as its users run it, on this host's kernel: how a command ends, what it leaves behind,
and what a `verify` that was killed leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.cgroups.left_behind import clear_left_behind
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.workload import workload_cgroup
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.session import make_tracer
from kmemtrace.model.enums import MismatchClass
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.tracer import Tracer
from kmemtrace.verification.verifier import Verifier
from tests.live import workloads
from tests.live.test_command import has_attached, in_kernel
from tests.live.workloads import held_in

MakeCgroup = Callable[[str], Path]

pytestmark = [pytest.mark.own_tracer, pytest.mark.usefixtures("_able")]

_ATTEMPTS = 3
VERIFY = [sys.executable, "-m", "kmemtrace", "verify"]


def verify(*options: str, command: list[str]) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON report, and what was said on stderr. Again where the kernel happened to skip a
    program, which leaves no verdict and is not what is tested here."""
    said = ""
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            [*VERIFY, "--json", "--drain=3s", *options, "--", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        report, said = json.loads(done.stdout), said + done.stderr
        if not report["missed_events"]:
            break
    return done.returncode, report, said


def cases(junit: Path) -> dict[str, list[str]]:
    """By the name of each test case, its results."""
    return {case.attrib["name"]: [child.tag for child in case] for case in ET.parse(junit).iter("testcase")}


@pytest.mark.parametrize(
    ("script", "own", "passed"),
    [("exit 3", 3, 3), ("kill -9 $$", -9, 137), ("exit 0", 0, 0)],
)
def test_how_the_command_ended_is_told(script: str, own: int, passed: int, tmp_path: Path) -> None:
    junit = tmp_path / "kmem.xml"
    status, report, _ = verify(f"--junit={junit}", command=["sh", "-c", script])
    assert report["verdict"] == "balanced", report
    assert (report["command_status"], report["command_failed"]) == (own, own != 0)
    assert status == (3 if own else 0)
    assert cases(junit)["the command succeeded"] == (["failure"] if own else [])
    assert verify("--pass-status", command=["sh", "-c", script])[0] == passed


def test_slab_objects_that_stay_are_not_taken_for_pages_that_were_lost() -> None:
    """Files on a tmpfs keep their inodes. Where the kernel says how much such objects take, that explains the
    counter; cgroup v1 does not, and there the account of the cgroup does, to the byte."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        # In a folder of its own each time: verify() may run it again.
        script = (
            "import pathlib, tempfile;"
            f"own = tempfile.mkdtemp(dir={folder!r});"
            "[pathlib.Path(own, str(n)).touch() for n in range(4001)]"
        )
        status, report, _ = verify(command=[sys.executable, "-c", script])
    kernel = report["counter"].get("kernel")
    blind = "size_mismatch" in report["unjudged"]
    if memory_hierarchy().version == 1 and blind:
        assert kernel["unexplained_pages"] > 500
        if report["account"]["exact"]:
            assert (status, report["doubts"]) == (0, [])
        else:
            assert (status, report["verdict"]) == (3, "inconclusive")
            assert "slab objects, of which cgroup v1 does not tell" in report["doubts"][0]
        return
    assert (status, report["doubts"]) == (0, [])
    if kernel is not None:
        assert kernel["known"]["slab"] > 500


def test_processes_left_behind_are_told_as_that(tmp_path: Path) -> None:
    junit = tmp_path / "kmem.xml"
    status, report, _ = verify(f"--junit={junit}", command=["sh", "-c", "sleep 1000 & sleep 1000 &"])
    assert (status, report["verdict"], report["killed_processes"]) == (3, "inconclusive", 2)
    (doubt,) = report["doubts"]
    assert "left processes behind" in doubt
    assert report["command_status"] == 0
    told = cases(junit)
    assert (told["no process left behind"], told["no event missed"]) == (["error"], [])


def test_the_command_begins_when_all_is_judged_that_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Until then stray uncharges are taken for those of pages charged before the start."""
    asked, judging, ran = threading.Event(), threading.Event(), tmp_path / "ran"
    wait = Tracer.wait_until_judging

    def waiting(tracer: Tracer) -> None:
        wait(tracer)
        asked.set()
        judging.wait()

    monkeypatch.setattr(Tracer, "wait_until_judging", waiting)
    verifier = Verifier(make_tracer, open_censor, drain_seconds=3)
    with ThreadPoolExecutor() as pool:
        verification = pool.submit(verifier.of_command, ["touch", str(ran)])
        asked.wait()
        assert not ran.exists()
        judging.set()
        assert verification.result().command_status == 0
    assert ran.exists()


def test_what_is_not_judged_yet_or_ever_is_told(tracer: Tracer) -> None:
    tracer.wait_until_judging()
    snapshot, stray = tracer.snapshot(), MismatchClass.STRAY_UNCHARGE
    if stray in tracer.plan.unjudged:
        assert (Unseen(stray) in snapshot.unseen, snapshot.unjudged_seconds) == (True, {})
    else:
        assert Unseen(stray) not in snapshot.unseen
        assert snapshot.unjudged_seconds[stray] > 0
        assert tracer.snapshot().unjudged_seconds == snapshot.unjudged_seconds


PIPES = (
    "import sys; from tests.live.workloads import drain_pipes, fill_pipes, join; from pathlib import Path;"
    "[join(Path(folder)) for folder in sys.argv[1:]];"
    "drain_pipes(fill_pipes(4099))"
)


def moving(*folders: Path) -> list[str]:
    """A command that goes to these cgroups, one after the other, and then charges 4,099 pages."""
    return [sys.executable, "-c", PIPES, *map(str, folders)]


def test_what_left_the_cgroup_is_named(make_cgroup: MakeCgroup, tmp_path: Path) -> None:
    """Wherever it went in between, and by a process that nobody waits for: it is its own parent's orphan."""
    first, last, junit = make_cgroup("first"), make_cgroup("last"), tmp_path / "kmem.xml"
    script = 'setsid "$@" & cat "$0" & wait'
    command = ["sh", "-c", script, "/dev/null", *moving(first, last)]
    status, report, _ = verify(f"--junit={junit}", command=command)
    assert (status, report["verdict"], report["followed"]) == (3, "inconclusive", False)
    went = {d["path"]: (d["processes"], d["comm"]) for d in report["departures"]}
    assert went.keys() == {f"/{first.name}", f"/{last.name}"}
    assert {processes for processes, _ in went.values()} == {1}
    (doubt,) = report["doubts"]
    assert "--follow" in doubt
    assert cases(junit)["no process went where it was not followed"] == ["error"]


def test_an_orphan_is_known_too(make_cgroup: MakeCgroup) -> None:
    elsewhere = make_cgroup("elsewhere")
    command = [
        "sh",
        "-c",
        '(setsid sh -c \'sleep 0.5; exec "$0" "$@"\' "$@" &) ; sleep 2',
        "x",
        *moving(elsewhere),
    ]
    _, report, _ = verify(command=command)
    assert [d["path"] for d in report["departures"]] == [f"/{elsewhere.name}"]


def test_what_left_is_followed_where_that_is_asked_for(make_cgroup: MakeCgroup) -> None:
    elsewhere, bystander = make_cgroup("elsewhere"), make_cgroup("bystander")
    with held_in(bystander, lambda: workloads.fill_pipes(1009)):
        status, report, _ = verify("--follow", command=moving(elsewhere))
    assert (status, report["verdict"], report["followed"]) == (0, "balanced", True), report
    assert [d["path"] for d in report["departures"]] == [f"/{elsewhere.name}"]
    assert 4099 <= report["charged_pages"] < 4099 + 1009
    assert report["charged_pages"] == report["uncharged_pages"] + report["held_pages"]


def test_what_stays_below_its_cgroup_has_not_left() -> None:
    script = """
        own=$(grep -o '/kmemtrace-verify-.*' /proc/self/cgroup)
        mkdir "$0$own/below" && echo $$ >"$0$own/below/cgroup.procs" && exec true
    """
    for follow in ((), ("--follow",)):
        status, report, said = verify(*follow, command=["sh", "-c", script, str(memory_hierarchy().mount)])
        assert (status, report["departures"]) == (0, []), (report, said)


def test_a_process_that_is_born_elsewhere_has_left(make_cgroup: MakeCgroup) -> None:
    elsewhere = make_cgroup("elsewhere")
    if memory_hierarchy().version == 1:
        pytest.skip("clone3() with CLONE_INTO_CGROUP is cgroup v2's")
    born = (
        "import sys; from tests.live.workloads import born_in; from pathlib import Path;"
        "born_in(Path(sys.argv[1]), lambda: None)"
    )
    status, report, _ = verify(command=[sys.executable, "-c", born, str(elsewhere)])
    assert status == 3
    assert [d["path"] for d in report["departures"]] == [f"/{elsewhere.name}"]


@contextlib.contextmanager
def verifying(script: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A `verify` whose command has begun, and its cgroup."""
    with subprocess.Popen([*VERIFY, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            told = running.stdout.readline().split()
            assert told, "the command did not begin"
            pid = int(told[0])
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            path = next(line.split(":", 2)[2] for line in lines if "kmemtrace-verify-" in line)
            yield running, memory_hierarchy().mount / path.lstrip("/")
        finally:
            running.kill()


def test_what_a_killed_one_left_the_next_one_clears_up() -> None:
    """And of one that still runs it lets everything be."""
    with verifying("echo $$; exec sleep 1000") as (alive, living):
        with verifying("echo $$; sleep 1000 & exec sleep 1000") as (dead, left):
            dead.kill()
            dead.wait()
            assert len((left / "cgroup.procs").read_text().split()) == 2
            status, report, said = verify(command=["true"])
        assert status == 0, report
        (line,) = said.splitlines()
        assert f"A verify that was killed had left the cgroup /{left.name} behind" in line
        assert line.count("sleep (") == 2
        assert not left.exists()
        assert living.name not in said
        assert (living / "cgroup.procs").read_text().split()
        alive.send_signal(signal.SIGINT)
        assert alive.wait(timeout=60) == 3
        assert not living.exists()


def test_what_lies_in_another_pid_namespace_is_left_alone() -> None:
    """The kernel shows its processes as 0, which to kill(2) is whoever asks, or, in v1, not at all."""
    hierarchy = memory_hierarchy()
    folder = hierarchy.mount / f"kmemtrace-verify-{os.getpid()}-0000"
    folder.mkdir()
    clear = (
        "from kmemtrace.cgroups.left_behind import clear_left_behind as clear;"
        "from kmemtrace.cgroups.mounts import memory_hierarchy;"
        f"print(*[left.stays for left in clear(memory_hierarchy()) if left.path == '/{folder.name}'])"
    )
    with subprocess.Popen(["sleep", "1000"]) as process:
        (folder / "cgroup.procs").write_text(str(process.pid))
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", clear],
            check=False,
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        assert (done.returncode, process.poll()) == (0, None)
        why = "cannot be removed" if hierarchy.version == 1 else "in another pid namespace"
        assert why in done.stdout
        process.kill()
    assert f"/{folder.name}" in [left.path for left in clear_left_behind(hierarchy)]
    assert not folder.exists()


def test_a_cgroup_is_cleared_up_only_when_its_maker_is_dead(tmp_path: Path) -> None:
    """As another process sees it: in a process id namespace of its own, where our id is nobody's."""
    hierarchy = memory_hierarchy()
    clear = (
        "from kmemtrace.cgroups.left_behind import clear_left_behind as clear;"
        "from kmemtrace.cgroups.mounts import memory_hierarchy;"
        "print([left.path for left in clear(memory_hierarchy())])"
    )
    with workload_cgroup(hierarchy) as cgroup:
        process = subprocess.Popen(["sleep", "1000"])
        (cgroup.folder / "cgroup.procs").write_text(str(process.pid))
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", clear],
            check=True,
            capture_output=True,
            text=True,
        )
        assert cgroup.path not in done.stdout
        assert process.poll() is None
        assert cgroup.processes() == [process.pid]
        process.kill()
        process.wait()
    assert cgroup.path not in [left.path for left in clear_left_behind(hierarchy)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_one_tells_what_is_known(number: signal.Signals) -> None:
    """And takes its command with it."""
    with verifying("echo $$; sleep 1000 & exec sleep 1000") as (running, folder):
        running.send_signal(number)
        told, _ = running.communicate(timeout=60)
    assert running.returncode == 3
    assert "charged 0 pages" not in told
    assert "\ninterrupted after " in told
    assert told.splitlines()[-1].startswith("INCONCLUSIVE: it was interrupted")
    assert not folder.exists()


def test_an_interrupted_watch_is_marked(tmp_path: Path) -> None:
    """Whoever asked for an hour has no verdict of an hour."""
    junit = tmp_path / "kmem.xml"
    before = in_kernel()
    running = subprocess.Popen(
        [*VERIFY, "--duration=1h", "--json", f"--junit={junit}"], stdout=subprocess.PIPE, text=True
    )
    while not has_attached(before):
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    told, _ = running.communicate(timeout=60)
    if told:  # else it was still looking for the pages charged before the start
        document = json.loads(told)
        assert (document["interrupted"], document["verdict"]) == (True, "inconclusive")
        assert cases(junit)["not interrupted"] == ["error"]
    assert running.returncode == 3
