"""systemd's hybrid hierarchy: a v2 without the memory controller beside v1, where the kernel has that."""

import json
import subprocess
import sys
from pathlib import Path

from tests.boots.command import kmemtrace

_PIPES = "import os; r, w = os.pipe(); os.set_blocking(w, False); os.write(w, bytes(65536))"


def _where() -> tuple[int, str]:
    """(version, mount) of the hierarchy with the memory controller."""
    v1 = Path("/sys/fs/cgroup/memory")
    return (1, str(v1)) if v1.exists() else (2, "/sys/fs/cgroup/unified")


def test_both_are_mounted() -> None:
    mounted = subprocess.run(["mount"], check=True, capture_output=True, text=True).stdout
    assert "type cgroup2" in mounted
    assert "type cgroup " in mounted


def test_check_names_the_one_with_the_memory_controller() -> None:
    done = kmemtrace("check", "--json")
    cgroups = json.loads(done.stdout)["cgroups"]
    assert (done.returncode, done.stderr) == (0, "")
    assert (cgroups["version"], cgroups["mount"]) == _where()


def test_verify_finds_the_command_and_its_counter() -> None:
    done = kmemtrace("verify", "--json", "--", sys.executable, "-c", _PIPES)
    report = json.loads(done.stdout)
    assert report["verdict"] in ("balanced", "inconclusive"), done
    assert report["charged_pages"] >= 16
    assert report["counter"] is not None
