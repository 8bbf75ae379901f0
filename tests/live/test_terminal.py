"""`kmemtrace top` in a terminal: drawn, and gone without a trace however it ends."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmemtrace.tracer.tracer import Tracer
from tests.live.test_command import in_kernel

pytestmark = pytest.mark.own_tracer

TOP = f"{sys.executable} -m kmemtrace top --interval 0.5"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _needs(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason, or where there is no terminal."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: it is the terminal of these tests")


class Terminal:
    """A terminal of 80 columns and 24 lines, with a shell in it: a tmux server of our own."""

    def __init__(self, name: str) -> None:
        self._socket = f"kmemtrace-test-{os.getpid()}-{name}"
        shell = ["env", "PS1=$ ", "PYTHONDONTWRITEBYTECODE=1", "sh"]
        self.tmux("-f/dev/null", "new-session", "-d", "-x80", "-y24", f"-c{ROOT}", *shell)

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", f"-L{self._socket}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def type(self, line: str) -> None:
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def key(self, name: str) -> None:
        self.tmux("send-keys", name)

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def ask(self, command: str) -> str:
        """What a shell command prints."""
        mark = f"{time.monotonic_ns():x}"
        # Quoted in the middle, so that the command itself, echoed, is not taken for its output.
        self.type(f"clear; echo begin-''{mark}; {command}; echo end-''{mark}")
        output = re.compile(rf"begin-{mark}\n(.*)end-{mark}", re.DOTALL)
        wait_for(lambda: output.search(self.text()) is not None, self.text)
        found = output.search(self.text())
        assert found is not None
        return found.group(1).strip()

    def top(self) -> int:
        """Starts top and waits for its table; answers its process id."""
        self.type(f"clear; {TOP}; status=$?; echo status=''$status")
        wait_for(lambda: "CHARGE/s" in self.text(), self.text)
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    def status(self) -> int:
        """Of the top that was started, once it has ended."""
        wait_for(lambda: re.search(r"^status=\d", self.text(), re.MULTILINE) is not None, self.text)
        found = re.search(r"^status=(\d+)", self.text(), re.MULTILINE)
        assert found is not None
        return int(found.group(1))

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")


def wait_for(reached: Callable[[], bool], shown: Callable[[], str], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{shown()}"
        time.sleep(0.05)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    opened = Terminal(str(abs(hash(request.node.name))))
    yield opened
    opened.close()


def no_longer_in_kernel(entries: set[tuple[str, int]]) -> None:
    """They are freed after an RCU grace period."""
    assert entries, "nothing was attached in the first place"
    wait_for(lambda: not in_kernel() & entries, lambda: str(in_kernel() & entries))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_frame_fills_the_terminal(terminal: Terminal) -> None:
    terminal.top()
    lines = terminal.text().splitlines()
    assert lines[2].startswith("missed ")
    assert {"CGROUP", "STATE", "HELD"} <= set(lines[3].split())
    assert lines[-1].endswith("? help  q quit")
    terminal.key("/")
    wait_for(lambda: " filter / " in terminal.text(), terminal.text)
    terminal.key("Escape")
    wait_for(lambda: " filter / " not in terminal.text(), terminal.text)


def quit_by_key(terminal: Terminal, pid: int) -> None:
    terminal.key("q")


def quit_by_ctrl_c(terminal: Terminal, pid: int) -> None:
    terminal.key("C-c")


def quit_by_ctrl_c_while_typing(terminal: Terminal, pid: int) -> None:
    terminal.key("/")
    terminal.key("C-c")


def quit_by(which: signal.Signals) -> Callable[[Terminal, int], None]:
    return lambda _, pid: os.kill(pid, which)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(quit_by_key, id="q"),
        pytest.param(quit_by_ctrl_c, id="Ctrl-C"),
        pytest.param(quit_by_ctrl_c_while_typing, id="Ctrl-C in the filter"),
        pytest.param(quit_by(signal.SIGTERM), id="SIGTERM"),
        pytest.param(quit_by(signal.SIGINT), id="SIGINT"),
        pytest.param(quit_by(signal.SIGHUP), id="SIGHUP"),
    ],
)
def test_it_ends_cleanly(end: Callable[[Terminal, int], None], terminal: Terminal) -> None:
    settings = terminal.ask("stty -a")
    assert "icanon" in settings
    before = in_kernel()
    pid = terminal.top()
    of_top = in_kernel() - before
    end(terminal, pid)
    assert terminal.status() == 0
    assert "Traceback" not in terminal.text()
    assert "CGROUP" not in terminal.text(), "the shell's screen is back"
    assert terminal.tmux("display-message", "-p", "#{alternate_on}#{cursor_flag}#{mouse_any_flag}") == "010\n"
    assert terminal.ask("stty -a") == settings
    no_longer_in_kernel(of_top)


def test_ctrl_z_suspends_and_fg_comes_back(terminal: Terminal) -> None:
    settings = terminal.ask("stty -a")
    pid = terminal.top()
    terminal.key("C-z")
    wait_for(lambda: state(pid) == "T", terminal.text)
    wait_for(lambda: terminal.text().rstrip().endswith("$"), terminal.text)
    assert "CGROUP" not in terminal.text(), "the shell's screen is back"
    assert terminal.ask("stty -a") == settings
    terminal.type("fg")
    wait_for(lambda: "CHARGE/s" in terminal.text(), terminal.text)
    wait_for(lambda: state(pid) != "T", terminal.text)
    terminal.key("?")
    wait_for(lambda: "Enter keeps it" in terminal.text(), terminal.text)
    terminal.key("q")
    wait_for(lambda: not is_alive(pid), terminal.text)
    assert terminal.ask("stty -a") == settings


def test_a_closed_terminal_ends_it(terminal: Terminal) -> None:
    before = in_kernel()
    pid = terminal.top()
    of_top = in_kernel() - before
    terminal.tmux("kill-session")
    wait_for(lambda: not is_alive(pid), lambda: f"process {pid} is still there", 10.0)
    no_longer_in_kernel(of_top)


def test_a_terminal_that_takes_no_more_output_does_not_keep_it(terminal: Terminal) -> None:
    """As on a connection that stalls: whoever wants it to end must not have to kill -9 it."""
    before = in_kernel()
    pid = terminal.top()
    of_top = in_kernel() - before
    server = int(terminal.tmux("display-message", "-p", "#{pid}"))
    os.kill(server, signal.SIGSTOP)
    try:
        time.sleep(3)  # its frames fill what the terminal buffers
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_running(pid), lambda: f"process {pid} is still there", 15.0)
    finally:
        os.kill(server, signal.SIGCONT)
    assert terminal.ask("echo $status") == "0", "the shell can be used again"
    no_longer_in_kernel(of_top)


def is_running(pid: int) -> bool:
    """And not a zombie: the shell above it waits for it."""
    return state(pid) not in ("", "Z")


def state(pid: int) -> str:
    """As ps names it: "T" is stopped; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
