"""The help of each command, as it stands on a narrow terminal."""

import subprocess
import sys

import pytest

from kmemtrace.commands.summaries import SUMMARIES

NEED_NO_ROOT = {"report"}


@pytest.mark.parametrize("command", [None, *SUMMARIES])
def test_help_keeps_its_examples_whole(command: str | None) -> None:
    """An example is copied by its line, so there is no break in it."""
    arguments = [] if command is None else [command]
    done = subprocess.run(
        ["env", "COLUMNS=80", sys.executable, "-m", "kmemtrace", *arguments, "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    if command is None:
        at = lines.index("exit status:")
        assert [line.split()[0] for line in lines[at + 1 : at + 6]] == list("01234")
        return
    at = lines.index("example:")
    root = "" if command in NEED_NO_ROOT else "sudo "
    assert lines[at + 1].startswith(f"  {root}kmemtrace {command} ")
    assert lines[at + 2 :] == [], "all of it is in that line"
