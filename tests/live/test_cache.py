"""A second start takes what the first compiled, and counts the same; what is damaged or full is no matter."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.tracer.compiled import NotCompiledError, read
from kmemtrace.tracer.tracer import Tracer
from tests.live.folders import in_unusable
from tests.live.workloads import fill_pipes, held_in
from tests.unit.test_console import shell

pytestmark = pytest.mark.own_tracer

TOP = f"{sys.executable} -m kmemtrace top --once --json --duration"
PAGES = 211


@pytest.fixture(autouse=True)
def _needs_bpf(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason."""


def path_of(cgroup: Path) -> str:
    return f"/{cgroup.relative_to(memory_hierarchy().mount)}"


def held(cache: str, cgroup: Path, *options: str) -> int:
    """Pages that a new tracer finds there; a busy machine takes longer until all are known."""
    for seconds in (0.2, 5.0):
        done = shell(f"KMEMTRACE_CACHE={cache} {TOP} {seconds} {' '.join(options)}")
        assert (done.returncode, done.stderr) == (0, ""), done
        document = json.loads(done.stdout)
        if "preexisting_pages" in document:
            break
    return int(next(row["held_pages"] for row in document["cgroups"] if row["path"] == path_of(cgroup)))


def test_what_was_kept_counts_as_what_is_compiled(make_cgroup: Callable[[str], Path], tmp_path: Path) -> None:
    cgroup, folder = make_cgroup("kept"), tmp_path / "cache"
    with held_in(cgroup, lambda: fill_pipes(PAGES)):
        compiled = held("off", cgroup)
        assert compiled >= PAGES
        assert held(f"{folder}", cgroup) == compiled
        before = {one.name: (one.stat().st_ino, one.read_bytes()) for one in folder.iterdir()}
        assert len(before) == 2, "the tracer's and the census's"
        assert held(f"{folder}", cgroup) == compiled
        assert {one.name: (one.stat().st_ino, one.read_bytes()) for one in folder.iterdir()} == before
        for one in folder.iterdir():
            damaged = bytearray(one.read_bytes())
            damaged[len(damaged) // 2] ^= 1
            one.write_bytes(damaged)
        assert held(f"{folder}", cgroup) == compiled
        assert {one.name: one.read_bytes() for one in folder.iterdir()} == {
            name: data for name, (_, data) in before.items()
        }
    for key, (_, data) in before.items():
        read(data, key)
        for at in range(0, len(data), 97):
            damaged = bytearray(data)
            damaged[at] ^= 0x40
            with pytest.raises(NotCompiledError):
                read(bytes(damaged), key)


def test_what_was_kept_for_one_cgroup_serves_for_others(
    make_cgroup: Callable[[str], Path], tmp_path: Path
) -> None:
    above, other = make_cgroup("above"), make_cgroup("other")
    below = above / f"{above.name}-below"
    below.mkdir()
    try:
        for cgroup, pages in ((above, PAGES), (below, 307), (other, 401)):
            with held_in(cgroup, partial(fill_pipes, pages)):
                assert pages <= held(f"{tmp_path}", cgroup, f"--cgroup {path_of(cgroup)}") < pages + PAGES
            assert len(list(tmp_path.iterdir())) == 2, "the tracer's and the census's"
    finally:
        below.rmdir()


def test_a_full_disk_and_one_that_cannot_be_written_to(tmp_path: Path) -> None:
    for done in in_unusable(tmp_path, f"KMEMTRACE_CACHE={tmp_path} {TOP} 0.2; ls -A {tmp_path}"):
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.splitlines()[1:] in ([], ["x"])
