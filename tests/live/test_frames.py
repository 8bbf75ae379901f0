"""Frames, and what is told at an interruption: `kmemtrace` as a process, beside a load that never rests."""

import contextlib
import itertools
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.tracer.tracer import Tracer
from tests.live.test_command import COMMAND, has_attached, in_kernel
from tests.live.workloads import drain_pipes, fill_pipes, join
from tests.unit.test_watch import stopped

pytestmark = pytest.mark.own_tracer

MakeCgroup = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _needs_bpf(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason."""


@pytest.fixture
def restless(make_cgroup: MakeCgroup) -> Iterator[Path]:
    """A cgroup that is charged pages all the time, each held for a second."""
    folder = make_cgroup("restless")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            join(folder)
            held = fill_pipes(1)
            while True:
                held += fill_pipes(16)
                if len(held) > 400:
                    drain_pipes([held.pop(0)])
                time.sleep(0.0025)
        os._exit(0)
    yield folder
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def of(folder: Path, frame: dict[str, Any]) -> dict[str, Any]:
    (found,) = (c for c in frame["cgroups"] if c["path"] == f"/{folder.name}")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("prefix", [[], ["unshare", "--time", "--monotonic", "1000000"]])
def test_no_page_is_older_than_the_first_frames_interval(prefix: list[str], restless: Path) -> None:
    """What is counted in the first frame was charged in its interval, so that its rates are right: the
    oldest page that is held tells. So do its pages' ages in a time namespace of its own."""
    command = [*prefix, *COMMAND, "top", "--once", "--json", "--duration", "50ms"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    frame = json.loads(done.stdout)
    row = of(restless, frame)
    assert 0 < row["oldest_seconds"] <= frame["interval_seconds"]
    assert frame["interval_seconds"] == frame["watched_seconds"]


@pytest.mark.parametrize("form", ["--json", "--batch"])
def test_frames_that_are_past_are_skipped(form: str, restless: Path) -> None:
    """Of a top that was stopped for as long as twenty frames take."""
    top = subprocess.Popen([*COMMAND, "top", form, "--interval", "200ms"], stdout=subprocess.PIPE, text=True)
    assert top.stdout is not None
    begins = "{" if form == "--json" else "kmemtrace "
    arrivals, lines = [], []
    try:
        for number in range(8):
            while not (line := top.stdout.readline()).startswith(begins):
                assert line or top.poll() is None
            arrivals.append(time.monotonic())
            lines.append(line)
            if number == 0:
                top.send_signal(signal.SIGSTOP)
                while not stopped(top.pid):
                    time.sleep(0.01)
                time.sleep(4.0)
                top.send_signal(signal.SIGCONT)
    finally:
        top.terminate()
        top.communicate(timeout=30)
    gaps = [after - before for before, after in itertools.pairwise(arrivals[1:])]
    assert sum(gaps) > 0.2 * len(gaps) / 2, "they did not come in a burst"
    if form == "--json":
        frames = [json.loads(line) for line in lines]
        assert frames[1]["interval_seconds"] > 3.9
        for before, after in itertools.pairwise(frames):
            passed = after["watched_seconds"] - before["watched_seconds"]
            assert after["interval_seconds"] == pytest.approx(passed)
            assert after["time"] - before["time"] == pytest.approx(passed, abs=0.05)
        assert all(f["interval_seconds"] >= 0.04 for f in frames)


def interrupted(arguments: list[str], number: signal.Signals) -> "subprocess.CompletedProcess[str]":
    """What it tells when a signal comes after a while."""
    before = in_kernel()
    running = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not has_attached(before):
        assert running.poll() is None
        time.sleep(0.1)
    time.sleep(1.5)  # for the pages to age
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_leaks_tell_what_is_known(number: signal.Signals, restless: Path) -> None:
    done = interrupted(["leaks", "--older-than", "1h", "--json"], number)
    assert done.returncode == 3
    assert done.stderr.startswith("kmemtrace: Interrupted after ")
    assert done.stderr.endswith(" s of 7200 s.\n")
    document = json.loads(done.stdout)
    assert document["interrupted"]
    assert document["older_than_seconds"] == pytest.approx(document["watched_seconds"] / 2, rel=0.5)
    assert any(leak["path"] == f"/{restless.name}" for leak in document["leaks"])
    assert all(leak["oldest_seconds"] > document["older_than_seconds"] for leak in document["leaks"])


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_interrupted_top_shows_what_is_known(form: list[str], restless: Path) -> None:
    done = interrupted(["top", "--once", "--duration", "1h", *form], signal.SIGINT)
    assert done.returncode == 3
    assert done.stderr.endswith(" s of 3600 s.\n")
    assert "-restless" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["leaks", "--older-than", "2s"], ["top", "--once", "--duration", "4s"]]
)
def test_progress_on_a_terminal(arguments: list[str]) -> None:
    """Nothing of it is left; and it is not in the way of a pipe, nor of whoever reads the output."""
    ours, its = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=its, text=True) as running:
        os.close(its)
        told = b""
        with contextlib.suppress(OSError):  # its end
            while piece := os.read(ours, 4096):
                told += piece
        assert running.wait(timeout=30) == 0
        assert running.stdout is not None
        assert "\x1b" not in running.stdout.read()
    os.close(ours)
    assert b"kmemtrace: watching; Ctrl-C " in told
    assert b" of 4s" in told
    assert told.endswith(b"\r\x1b[K")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("top --once", 3, "kmemtrace: Interrupted before there was anything to tell.\n"),
        ("leaks", 3, "kmemtrace: Interrupted before there was anything to tell.\n"),
        ("top --batch", 0, ""),
        ("export --listen-address 127.0.0.1:0", 0, ""),
    ],
)
def test_an_interruption_of_the_start(command: str, status: int, says: str, number: signal.Signals) -> None:
    """While BPF is compiled. What goes on until it is ended has been ended, and the compiler with it."""
    environment = {**os.environ, "KMEMTRACE_CACHE": "off"}
    running = subprocess.Popen(
        [*COMMAND, *command.split()], stderr=subprocess.PIPE, text=True, env=environment
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    compiling: list[Path] = []
    while not any("libbcc" in one.read_text() for one in compiling):
        assert running.poll() is None
        time.sleep(0.01)
        compiling = [Path(f"/proc/{child}/maps") for child in children.read_text().split()]
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (status, says)
    assert not any(one.exists() for one in compiling)
