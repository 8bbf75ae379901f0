"""Runs kmemtrace as its users do, and looks at how it refuses."""

import json
import subprocess
import sys
from typing import Any

import pytest

COMMANDS = {
    "top": ["top", "--once", "--duration=1"],
    "leaks": ["leaks", "--older-than=1s"],
    "verify": ["verify", "--", "true"],
    "verify the machine": ["verify", "--duration=1"],
    "export": ["export", "--listen-address=127.0.0.1:0"],
    "audit": ["audit"],
}
"""Each that traces or counts."""

EACH_COMMAND = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)

_SECONDS = 400
"""Emulated, to compile takes up to a minute."""


def kmemtrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmemtrace", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)


def refuses(arguments: list[str], *words: str) -> None:
    """That it cannot, says why in one line with these words, and says nothing else."""
    done = kmemtrace(*arguments)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def check_refuses(*words: str) -> dict[str, Any]:
    """That `check` says the same of itself: status 4, no tier, and a problem with these words."""
    done = kmemtrace("check", "--json")
    assert done.returncode == 4, done
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["tier"] is None
    assert any(all(word in problem for word in words) for problem in report["problems"]), report["problems"]
    text = kmemtrace("check")
    assert text.returncode == 4
    assert "tier        none" in text.stdout
    return report
