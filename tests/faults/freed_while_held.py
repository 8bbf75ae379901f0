"""The case of docs/cases.md, block by block, with the commands of that page and what they print:

python -m guests.matrix --boot freed-while-held 6.12 7.3

leaves that in the guest's folder as case-freed-while-held.txt, and prints it at the end.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from tests.faults.conftest import FOLDER
from tests.faults.kernel import Kernel
from tests.faults.losing import WAYS
from tests.live.test_command import has_attached, in_kernel
from tests.live.workloads import PAGE, run_in

ROOT = Path(__file__).parents[2]
BLOCKS = 100
LOST = 7 * BLOCKS
_INTERVAL = 10
_READINGS = "--readings=12"
"""Emulated, what was freed before may take its time."""
_CERTAIN = re.compile(r"^counter_drift: certain: (\S+)\n.*: ([\d,]+) more than is there", re.MULTILINE)
_OURS = [sys.executable, "-m", "kmemtrace"]


class Evidence:
    """What was run, and what it said."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_text("")

    def add(self, command: str, said: str) -> None:
        with self._file.open("a") as file:
            file.write(f"    {command.replace(sys.executable, 'python3')}\n\n{said.rstrip()}\n\n")

    def kmemtrace(self, *arguments: str, status: int) -> str:
        """What it says, once it has ended so."""
        done = subprocess.run([*_OURS, *arguments], check=False, capture_output=True, text=True, cwd=ROOT)
        self.add(f"sudo kmemtrace {' '.join(arguments)}", done.stdout)
        assert (done.returncode, done.stderr) == (status, ""), done
        return done.stdout

    def kernels(self, folder: Path) -> int:
        """The kernel's own count of a cgroup's kernel memory, in bytes."""
        file = folder / "memory.stat"
        line = next(one for one in file.read_text().splitlines() if one.startswith("kernel "))
        self.add(f"grep '^kernel ' {file}", line)
        return int(line.split()[1])


@contextmanager
def _cgroups() -> Iterator[tuple[Path, dict[str, Path]]]:
    """One for each way, all below one that outlives them; the test removes them."""
    mount = memory_hierarchy().mount
    above = mount / "freed"
    above.mkdir()
    for folder in (mount, above):
        (folder / "cgroup.subtree_control").write_text("+memory")
    below = {way: above / way for way in WAYS}
    for folder in below.values():
        folder.mkdir()
    yield above, below
    above.rmdir()


def _free_in_each_way(kernel: Kernel, below: Mapping[str, Path]) -> None:
    for way, folder in below.items():
        run_in(folder, lambda way=way: [WAYS[way](kernel) for _ in range(BLOCKS)])  # type: ignore[misc]


def _drifts(evidence: Evidence) -> dict[str, int]:
    """By cgroup, the bytes on its count that nothing is behind, of those that are certain."""
    said = evidence.kmemtrace("audit", _READINGS, "--cgroup=/freed", status=1)
    return {path: int(apart.replace(",", "")) for path, apart in _CERTAIN.findall(said)}


def _verified(evidence: Evidence) -> None:
    """Each block is found; not each is certain, where the kernel happened to skip a program meanwhile."""
    command = ["--", sys.executable, "-m", "tests.faults.losing", os.environ[FOLDER], str(BLOCKS)]
    evidence.kmemtrace("verify", *command, status=1)
    report = json.loads(evidence.kmemtrace("verify", "--json", *command, status=1))
    assert {one["class"] for one in report["mismatches"]} == {"size_mismatch"}
    assert sum(one["lost_pages"] for one in report["mismatches"]) == LOST


@contextmanager
def _watched(evidence: Evidence) -> Iterator[None]:
    """What `top` shows of what is done inside, once it is done."""
    arguments = ["top", "--batch", f"--interval={_INTERVAL}", "--cgroup=/freed"]
    before, wide = in_kernel(), os.environ | {"COLUMNS": "130"}
    with subprocess.Popen([*_OURS, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=wide) as top:
        while not has_attached(before):
            assert top.poll() is None
            time.sleep(1)
        yield
        time.sleep(2 * _INTERVAL)
        top.send_signal(signal.SIGINT)
        said = top.communicate()[0]
    last = said[said.rindex("kmemtrace  ") :]
    evidence.add(f"sudo kmemtrace {' '.join(arguments)}", last)
    assert "MISMATCHES " in last


def _needs_a_count_of_kernel_memory() -> None:
    hierarchy, file = memory_hierarchy(), memory_hierarchy().mount / "memory.stat"
    if hierarchy.version == 1 or not file.exists() or "\nkernel " not in file.read_text():
        pytest.skip("the case is told by `kernel` in memory.stat, which cgroup v2 has from 5.18 on")


@pytest.mark.usefixtures("_able")
def test_pages_of_blocks_freed_while_held_stay_on_the_count(kernel: Kernel) -> None:
    """What was lost before anything was traced comes first."""
    _needs_a_count_of_kernel_memory()
    evidence = Evidence(Path(os.environ[FOLDER]) / "case-freed-while-held.txt")
    with _cgroups() as (above, below):
        _free_in_each_way(kernel, below)
        assert _drifts(evidence) == {"/freed/held": LOST * PAGE}
        assert evidence.kernels(below["held"]) >= LOST * PAGE
        for folder in below.values():
            folder.rmdir()
        assert _drifts(evidence) == {"/freed": LOST * PAGE}
        assert evidence.kernels(above) >= LOST * PAGE
    _verified(evidence)
    with _cgroups() as (_, below):
        with _watched(evidence):
            _free_in_each_way(kernel, below)
        for folder in below.values():
            folder.rmdir()
