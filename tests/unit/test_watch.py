"""Waiting for frames, and what a stop and a signal do to it: of real processes, told by what they print."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TICKS = """
import time
from kmemtrace.commands.watch import Watch, interrupt_on_signals, tell_interruption
interrupt_on_signals()
print("ready", flush=True)
for _ in Watch().ticks(0.2):
    print(time.monotonic(), flush=True)
"""
WAIT = """
from kmemtrace.commands.watch import Watch, interrupt_on_signals, tell_interruption
interrupt_on_signals()
with Watch() as watch:
    print("ready", flush=True)
    watch.wait_until(60)
    print("told", flush=True)
    watch.wait(60) or print("at once", flush=True)
tell_interruption(watch.interrupted_after, 60.0)
"""


IMPORTING = """
import os, signal
from kmemtrace.commands.watch import importing, interrupt_on_signals
interrupt_on_signals()
print("ready", flush=True)
try:
    with importing():
        exec("os.kill(os.getpid(), signal.SIGTERM)")
        print("imported", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def begin(code: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_what_is_past_is_skipped(start: Start) -> None:
    ticking = start(TICKS)
    assert ticking.stdout is not None
    first = float(ticking.stdout.readline())
    os.kill(ticking.pid, signal.SIGSTOP)
    while not stopped(ticking.pid):
        time.sleep(0.01)
    time.sleep(2.0)  # ten frames' worth
    os.kill(ticking.pid, signal.SIGCONT)
    times = [first, *(float(ticking.stdout.readline()) for _ in range(8))]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) > 1.0, "it was stopped"
    assert min(gaps) > 0.01, "none came in a burst"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_waiting_and_no_more(number: signal.Signals, start: Start) -> None:
    waiting = start(WAIT)
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (0, "told\nat once\n")
    assert err.startswith("kmemtrace: Interrupted after ")
    assert err.endswith(" s of 60 s.\n")


def test_a_signal_that_is_ignored_stays_so(start: Start) -> None:
    """As nohup wants it."""
    waiting = start(f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WAIT}")
    waiting.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)
    waiting.send_signal(signal.SIGTERM)
    assert waiting.communicate(timeout=30)[0] == "told\nat once\n"


def test_a_signal_while_a_class_is_made_does_not_end_python_by_it(start: Start) -> None:
    """Raised inside exec(), it would have Python end by SIGINT, though it is caught."""
    importing = start(IMPORTING)
    assert importing.stdout is not None
    assert importing.stderr is not None
    # Not by communicate(): what came along with the first line is read already.
    assert (importing.stdout.read(), importing.stderr.read()) == ("imported\ninterrupted\n", "")
    assert importing.wait(timeout=30) == 0
