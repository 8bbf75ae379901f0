"""`kmemtrace` as its users run it: as a process, on this host's kernel."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.model.enums import Tier
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.workloads import held_in, run_in

MakeCgroup = Callable[[str], Path]

pytestmark = pytest.mark.own_tracer

COMMAND = [sys.executable, "-m", "kmemtrace"]
# Root without its powers, but for reading a checkout that lies in somebody's home.
POWERLESS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+dac_override"]


def kmemtrace(*arguments: str, prefix: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [*(prefix or []), *COMMAND, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(autouse=True)
def _needs_bpf(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason."""


def listed(kind: str) -> list[dict[str, Any]]:
    while True:
        done = subprocess.run(["bpftool", "--json", kind], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            entries: list[dict[str, Any]] = json.loads(done.stdout)
            return entries
        # One that ends while it is looked at: of somebody else's tracer, maybe.
        assert "No such file" in done.stderr or "No such file" in done.stdout, done


def in_kernel() -> set[tuple[str, int]]:
    """Every BPF program, map and link there is, whoever made it."""
    return {(kind, entry["id"]) for kind in ("prog", "map", "link") for entry in listed(kind)}


def has_attached(before: set[tuple[str, int]]) -> bool:
    """Whether a tracer that began since has attached its last program, with which counting begins."""
    links = {link.get("prog_id") for link in listed("link")}
    new = [p for p in listed("prog") if ("prog", p["id"]) not in before]
    return any(p.get("name") == "page_alloc" and p["id"] in links for p in new)


def pipes_of(pages: int) -> Callable[[], None]:
    return lambda: workloads.drain_pipes(workloads.fill_pipes(pages))


def test_once_json_is_one_document(tracer: Tracer) -> None:
    done = kmemtrace("top", "--once", "--duration", "1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["tier"] == tracer.plan.tier
    # It waits for the pages from before the start, if those take longer to be found.
    assert 0.9 < document["interval_seconds"] < 3.0
    assert document["losses"]["map_full"] == 0


def test_repeated_frames_are_one_object_a_line() -> None:
    done = kmemtrace("top", "--json", "--interval", "1", "--duration", "3.2")
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(frames) == 3
    assert [f["time"] for f in frames] == sorted(f["time"] for f in frames)


def test_leaks_folded(make_cgroup: MakeCgroup) -> None:
    """What a process holds that began while they were looked for."""
    folder = make_cgroup("leaking")
    command = [*COMMAND, "leaks", "--older-than=1s", "--duration=9s", "--folded"]
    before = in_kernel()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as leaks:
        while not has_attached(before):
            assert leaks.poll() is None
            time.sleep(0.1)
        with held_in(folder, lambda: workloads.fill_pipes(1009)):
            assert leaks.stdout is not None
            lines = leaks.stdout.read().splitlines()
        assert leaks.wait() == 0
    mine = [line for line in lines if f"{folder.name};" in line and "pipe_write" in line]
    assert len(mine) == 1
    assert mine[0].endswith(" 1009")


def test_plain_frame_without_a_terminal() -> None:
    done = kmemtrace("top", "--once", "--duration", "0.5")
    assert done.returncode == 0
    assert "missed 0" in done.stdout
    assert "CGROUP" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["top", "--sort", "colour"], 2, "--sort"),
        (["top", "--interval", "0"], 2, "--interval"),
        (["top", "--once", "--duration", "x"], 2, "--duration"),
        (["top", "--cgroup", "/no/such/cgroup", "--once"], 2, "/no/such/cgroup"),
        (["top", "--cgroup", "/etc", "--once"], 2, "There is no memory cgroup"),
        (["top", "--tier", "uprobe", "--once"], 2, "--tier"),
        (["top", "--json", "--by", "site"], 2, "--by"),
        (["top", "--prometheus=localhost"], 2, "is no URL"),
        (["top", "--prometheus=http://127.0.0.1:1", "--tier=kprobe"], 2, "--tier is for tracing here"),
        (["top", "--prometheus=http://127.0.0.1:1", "--objects"], 2, "--objects is for tracing here"),
        (["top", "--max-objects=4099"], 2, "--max-objects is for --objects"),
        (["top", "--by=cache", "--json", "--once"], 2, "--by shapes tables"),
        (["top", "--prometheus=http://127.0.0.1:1", "--by=site"], 2, "leave --by out"),
        (["top", "--prometheus=http://127.0.0.1:1", "--once"], 4, "cannot be reached"),
        (["verify"], 2, "either a command after -- or --duration"),
        (["verify", "--", "no-such-command"], 2, "not a command that can be run"),
        (["verify", "--duration=1", "--junit=/nowhere/at/all.xml"], 2, "no folder /nowhere/at"),
        (["leaks", "--older-than=5s", "--duration=5s"], 2, "must be longer than"),
        (["leaks", "--older-than=5 weeks"], 2, "no duration"),
        (["leaks", "--folded", "--no-sites"], 2, "--no-sites"),
        (["nothing"], 2, "nothing"),
        ([], 2, "COMMAND"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, says: str) -> None:
    done = kmemtrace(*arguments)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_refused_without_privileges() -> None:
    done = kmemtrace("top", "--once", prefix=POWERLESS)
    assert done.returncode == 4
    assert "CAP_BPF and CAP_PERFMON" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_check_without_privileges_says_what_is_missing() -> None:
    done = kmemtrace("check", "--json", prefix=POWERLESS)
    report = json.loads(done.stdout)
    assert done.returncode == 4
    assert report["tier"] is None
    assert report["privileges"]["missing"] == ["CAP_BPF", "CAP_PERFMON"]
    # What can be seen without root is shown, and nothing is told as taken or judged.
    events = {event["event"]: event for event in report["events"]}
    assert events["alloc"]["candidate"] == "mm_page_alloc"
    assert all(event["hook"] is None for event in events.values())
    assert report["verdicts"] == report["account"] == {}
    text = kmemtrace("check", prefix=POWERLESS).stdout
    assert "kprobe" not in text
    assert "judges" not in text


def test_check(tracer: Tracer) -> None:
    done = kmemtrace("check", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    events = {event["event"]: event for event in report["events"]}
    assert events["alloc"]["hook"] == "mm_page_alloc"
    # A function is probed, or the reason is given why it is not.
    charge = events["charge"]
    assert charge["reason"] if tracer.plan.tier is Tier.TRACEPOINT else charge["hook"]
    assert (report["account"]["pages"], report["account"]["slab"]) == (None, None)
    if report["cgroups"]["version"] == 1:
        assert "limit_in_bytes" in report["account"]["sockets"], "how to have them counted"
    told = kmemtrace("check")
    assert told.returncode == 0
    assert "account of           pages, slab" in told.stdout


def test_cgroup_limits_the_tracing_to_a_subtree(make_cgroup: MakeCgroup) -> None:
    wanted, other = make_cgroup("wanted"), make_cgroup("other")
    below = wanted / "below"
    below.mkdir()
    running = subprocess.Popen(
        [*COMMAND, "top", "--json", "--interval", "0.5", "--cgroup", f"/{wanted.name}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    running.stdout.readline()  # attached by now
    for folder, pages in ((wanted, 101), (below, 103), (other, 107)):
        run_in(folder, pipes_of(pages))
    running.stdout.readline()  # may be from before
    output = running.stdout.readline()
    running.terminate()
    running.communicate(timeout=30)
    charged = {
        cgroup["path"]: sum(
            s["charged_pages"] for s in cgroup["sites"] if s["symbol"] in ("anon_pipe_write", "pipe_write")
        )
        for cgroup in json.loads(output)["cgroups"]
    }
    assert charged == {f"/{wanted.name}": 101, f"/{wanted.name}/below": 103}


@pytest.fixture
def running_top() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "top", "--json", "--interval", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline(), "no frame came"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(how: signal.Signals, running_top: subprocess.Popen[str]) -> None:
    running_top.send_signal(how)
    assert running_top.stderr is not None
    assert (running_top.wait(timeout=20), running_top.stderr.read()) == (0, "")


@pytest.fixture
def before() -> set[tuple[str, int]]:
    return in_kernel()


def test_kill_9_leaves_nothing_in_the_kernel(
    before: set[tuple[str, int]], running_top: subprocess.Popen[str]
) -> None:
    of_top = in_kernel() - before
    assert {kind for kind, _ in of_top} >= {"prog", "map"}
    running_top.kill()
    running_top.wait()
    deadline = time.monotonic() + 20  # maps and programs are freed after an RCU grace period
    while in_kernel() & of_top and time.monotonic() < deadline:
        time.sleep(0.1)
    assert in_kernel() & of_top == set()


def test_a_reader_that_hangs_up_is_no_error() -> None:
    process = subprocess.run(
        f"{' '.join(COMMAND)} top --json --interval 0.2 --duration 3 | head -n 1",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert json.loads(process.stdout)
