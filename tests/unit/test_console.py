"""What a command does when its output cannot be written: status 4 with a sentence, and never a traceback."""

import functools
import os
import subprocess
import sys

import pytest

COMMAND = f"{sys.executable} -m kmemtrace"

QUIET = ["--version", "top --help", "check"]
"""Those that need neither privileges nor BPF, nor time."""

FULL = "could not be written: No space left on device"
CLOSED = "could not be written: Bad file descriptor"

UNWRITABLE = [
    pytest.param(">/dev/full", FULL, id="full"),
    pytest.param(">&-", CLOSED, id="closed"),
    pytest.param(">&- <&-", CLOSED, id="closed, and no input"),
]
"""Where stdout goes, and the sentence that says that it went nowhere."""

NO_MESSAGES = ["2>&-", "2>/dev/full", "<&- 2>&-"]
"""Where stderr goes that takes nothing."""


@functools.cache
def usual(command: str) -> subprocess.CompletedProcess[str]:
    """With nothing in its way."""
    return shell(f"{COMMAND} {command}")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True, timeout=120)


def without_reader(command: str) -> subprocess.CompletedProcess[str]:
    """Its output goes to a pipe whose reader has gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [*COMMAND.split(), *command.split()],
            check=False,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("command", QUIET)
@pytest.mark.parametrize(("where", "says"), UNWRITABLE)
def test_output_that_cannot_be_written(command: str, where: str, says: str) -> None:
    done = shell(f"{COMMAND} {command} {where}")
    assert done.returncode == 4
    assert done.stderr == f"kmemtrace: The output {says}.\n"


@pytest.mark.parametrize("command", QUIET)
@pytest.mark.parametrize("where", NO_MESSAGES)
def test_messages_that_cannot_be_written_change_nothing(command: str, where: str) -> None:
    done = shell(f"{COMMAND} {command} {where}")
    assert done.returncode == usual(command).returncode
    assert done.stdout.splitlines()[:1] == usual(command).stdout.splitlines()[:1] != []


@pytest.mark.parametrize("where", NO_MESSAGES)
def test_an_error_that_cannot_be_told_keeps_its_status(where: str) -> None:
    assert shell(f"{COMMAND} nonsense {where}").returncode == 2
    assert shell(f"{COMMAND} leaks --older-than=5s --duration=5s {where}").returncode == 2
    assert shell(f"{COMMAND} --help >/dev/full {where}").returncode == 4


@pytest.mark.parametrize("command", QUIET)
def test_a_reader_that_hangs_up_is_no_error(command: str) -> None:
    done = without_reader(command)
    assert (done.returncode, done.stderr) == (usual(command).returncode, "")


def test_an_unexpected_error_is_told_in_a_sentence() -> None:
    broken = (
        "import kmemtrace.console as console; console.prepare(); "
        "raise SystemExit(console.guarded(lambda: {}['no\\nsuch key']))"
    )
    told = shell(f'{sys.executable} -c "{broken}"')
    assert told.returncode == 4
    assert told.stderr.startswith("kmemtrace: An error that kmemtrace did not expect: KeyError: ")
    assert len(told.stderr.splitlines()) == 1
    shown = shell(f'KMEMTRACE_DEBUG=1 {sys.executable} -c "{broken}"')
    assert "Traceback (most recent call last)" in shown.stderr


def test_an_unexpected_error_of_a_thread_is_told_in_a_sentence() -> None:
    broken = (
        "import threading, kmemtrace.console as console; console.prepare(); "
        "thread = threading.Thread(target=lambda: 1 // 0); thread.start(); thread.join()"
    )
    told = shell(f'{sys.executable} -c "{broken}"')
    assert told.returncode == 0
    assert "ZeroDivisionError" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_locale_without_our_characters() -> None:
    done = shell(
        "PYTHONIOENCODING=ascii "
        f"{sys.executable} -c \"from kmemtrace.console import *; prepare(); write('3.4\\u00b5s')\""
    )
    assert (done.returncode, done.stdout) == (0, "3.4\\xb5s\n")
