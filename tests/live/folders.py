"""Folders that nothing can be written to, one full and one read-only, for commands that meet them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_console import shell

_FULL = "mount -t tmpfs -o size=4k,mode=0700 none {0}; head -c 4096 /dev/zero >{0}/x"
_READ_ONLY = "mount -t tmpfs -o ro,mode=0700 none {0}"


def in_unusable(folder: Path, command: str) -> Iterator[subprocess.CompletedProcess[str]]:
    """Runs a command of the shell while `folder` is full, and while it is read-only; skips where there is
    nothing to mount with."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here, to mount with")
    for way in (_FULL, _READ_ONLY):
        yield shell(f"unshare -m bash -c '{way.format(folder)}; {command}'")
