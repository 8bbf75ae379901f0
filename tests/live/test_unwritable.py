"""What each command that traces does when its output cannot be written: status 4 with a sentence, never a
traceback, and no status 1, which is a verdict."""

import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kmemtrace.tracer.tracer import Tracer
from tests.prometheus import free_port, until
from tests.unit.test_console import COMMAND, NO_MESSAGES, UNWRITABLE, shell, without_reader

pytestmark = pytest.mark.own_tracer

TRACING = [
    "top --once --duration 0.1",
    "top --json --interval 0.1 --duration 0.3",
    "leaks --older-than 0.1 --duration 0.2",
    "leaks --older-than 0.1 --duration 0.2 --json",
    "verify --duration 0.1",
    "verify --json -- true",
    "audit --readings 3 --pause 0.1",
    "dead",
]


@pytest.fixture(autouse=True)
def _needs_bpf(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason."""


@pytest.mark.parametrize("command", TRACING)
@pytest.mark.parametrize(("where", "says"), UNWRITABLE)
def test_output_that_cannot_be_written(command: str, where: str, says: str) -> None:
    done = shell(f"{COMMAND} {command} {where}")
    assert done.returncode == 4
    assert done.stderr == f"kmemtrace: The output {says}.\n"


@pytest.mark.parametrize("command", TRACING)
@pytest.mark.parametrize("where", NO_MESSAGES)
def test_messages_that_cannot_be_written_change_nothing(command: str, where: str) -> None:
    done = shell(f"{COMMAND} {command} {where}")
    assert done.returncode in (0, 3)  # events may have been missed, of the whole machine
    assert done.stdout


def test_a_junit_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The report is there all the same."""
    file = tmp_path / "result.xml"
    file.symlink_to("/dev/full")
    done = shell(f"{COMMAND} verify --junit {file} -- true")
    assert done.returncode == 4
    assert "uncharged" in done.stdout
    assert done.stderr == f"kmemtrace: {file} cannot be written: No space left on device.\n"


@pytest.mark.parametrize("command", [*TRACING, "top --json --interval 0.1"])
def test_a_reader_that_hangs_up_is_no_error(command: str) -> None:
    """It also ends what would go on for good."""
    done = without_reader(command)
    assert done.returncode in (0, 3)
    assert done.stderr == ""


@pytest.mark.parametrize("where", [*NO_MESSAGES, ">&-", ">/dev/full"])
def test_an_exporter_whose_messages_cannot_be_written_serves(where: str) -> None:
    at = f"127.0.0.1:{free_port()}"
    exporter = subprocess.Popen(["bash", "-c", f"exec {COMMAND} export --listen-address {at} {where}"])

    def serves() -> bool:
        assert exporter.poll() is None
        try:
            with urllib.request.urlopen(f"http://{at}/metrics", timeout=20) as answer:
                return b"kmemtrace_charged_pages_total" in answer.read()
        except urllib.error.URLError:
            return False

    try:
        until(serves, 60)
        exporter.send_signal(signal.SIGTERM)
        assert exporter.wait(timeout=30) == 0
    finally:
        exporter.kill()
        exporter.wait()
