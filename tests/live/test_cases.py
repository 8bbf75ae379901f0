"""Cases of docs/cases.md, run as they are written there; and of their figures those that hold everywhere."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from tests.live.test_command import listed
from tests.live.workloads import PAGE

pytestmark = [pytest.mark.own_tracer, pytest.mark.usefixtures("_able")]

ROOT = Path(__file__).parents[2]
WORKERS, GIGABYTE = 40, 1 << 30
ENTRIES, ELEMENT, BUCKETS = 1_000_000, 16 + 64 + 48, (1 << 20) * 16
"""An element is a key, a value and what the kernel needs of it."""
TRIES = 7
SMALL = 1 << 20
"""What a process is charged beside."""
_ATTACHED = """from tests.live.test_command import has_attached, time
while not has_attached({{("prog", number) for number in {before}}}): time.sleep(0.2)"""
_ON_V2 = {"/sys/fs/cgroup/memory": "/sys/fs/cgroup", "memory.limit_in_bytes": "memory.max"}


class Page:
    """A case's commands, one block after the other."""

    def __init__(self, heading: str) -> None:
        text = (ROOT / "docs" / "cases.md").read_text()
        told = text.partition("\n## ")[0] + text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        blocks = [textwrap.dedent(b).strip() for b in re.findall(r"(?:^    .*\n)+", told, re.MULTILINE)]
        # What a command prints begins with a number, or a capital that is no variable.
        self._commands = [b for b in blocks if re.match(r"[a-z]|CG=", b)]

    def run(self, more: dict[str, str], *, end: str) -> list[str]:
        """What each block printed, with some words of theirs replaced; `end` is run after a failure, too.

        From a file: `pkill -f` would find the words on bash's own command line."""
        attached = _ATTACHED.format(before=[program["id"] for program in listed("prog")])
        ours = {"sudo kmemtrace": f"{sys.executable} -m kmemtrace"} | more
        ours |= {"--duration 1": "--duration 4", "sleep 8": f"{sys.executable} -c '{attached}'"}
        ours |= _ON_V2 if memory_hierarchy().version == 2 else {}
        script = f"trap '{end}' EXIT\n" + "\necho '#####'\n".join(self._commands)
        for words, others in ours.items():
            script = script.replace(words, others)
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(script)
            file.flush()
            done = subprocess.run(["bash", file.name], check=False, capture_output=True, text=True, cwd=ROOT)
        print(done.stderr)  # shown if it fails
        return done.stdout.split("#####\n")


def audited(printed: str) -> int:
    """The bytes that the kernel has charged to the one cgroup of an audit, all of them there."""
    assert "BALANCED" in printed
    (row,) = re.findall(r"^ *([\d,]+) .* /\w+$", printed, re.MULTILINE)
    return int(row.replace(",", ""))


def only_cgroup(printed: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = json.loads(printed)["cgroups"]
    return found


@pytest.fixture(autouse=True)
def _charged_below_the_root() -> None:
    hierarchy = memory_hierarchy()
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")


@pytest.fixture
def _bpftool() -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed (Debian: bpftool)")


@pytest.mark.usefixtures("_bpftool")
def test_an_agent_that_cannot_create_its_bpf_map() -> None:
    end = "rm -f /sys/fs/bpf/connections; sleep 1; rmdir $CG/agent 2>/dev/null"
    page = Page("An agent that cannot create its BPF map")
    more = {"--sort fail": "--json", "do agent; done": "do agent; done; wait"}
    _, refused, tries, enough, as_needed, _removed = page.run(more, end=end)
    assert refused == ""
    agent = only_cgroup(tries)
    assert agent["failed_charges"] == TRIES
    asked = [site for site in agent["sites"] if site["symbol"] == "__bpf_map_area_alloc"]
    charged = sum(site["charged_pages"] for site in asked)
    assert TRIES * 15_000 < charged <= TRIES * (64 << 20) // PAGE
    assert {site["held_pages"] for site in asked} == {0}
    assert 0 <= audited(enough) - ENTRIES * ELEMENT - BUCKETS < SMALL
    assert 0 <= audited(as_needed) - BUCKETS < SMALL


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="this kernel has no huge pages for a tmpfs",
)
def test_page_tables_of_shared_memory() -> None:
    end = "pkill -f /tmp/shared.py; sleep 1; umount /run/buffers; rmdir /run/buffers $CG/workers 2>/dev/null"
    page = Page("Page tables of shared memory")
    more = {
        "--by site": "--json",
        'exec python3 /tmp/shared.py" &': 'exec python3 /tmp/shared.py" >/dev/null 2>&1 & wait %1',
        '/pool" &': '/pool" >/dev/null 2>&1 &',
        "pkill -f /tmp/shared.py": "pkill -f /tmp/shared.py; sleep 1",
    }
    _, tables, again, large, _removed = page.run(more, end=end)
    least = WORKERS * GIGABYTE // (PAGE // 8)
    of_tables = sum(s["held_pages"] for s in only_cgroup(tables)["sites"] if s["kind"] == "page_table")
    assert least < of_tables * PAGE < least + WORKERS * SMALL // 4
    assert re.search(r"^page_table +online +8\dM ", again, re.MULTILINE)
    assert least < audited(again) < least + 20 * SMALL
    assert audited(large) < 20 * SMALL
