"""What must not leave a wrong count behind: pages that end without a free, full maps, a storm."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import CannotError
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.tracer import Tracer
from tests.live import fuse, workloads
from tests.live.test_workloads import PIPE_WRITE, at, left, nothing_held, settled
from tests.live.workloads import held_in, run_in
from tests.tracing import Watched, certain

MakeCgroup = Callable[[str], Path]
Watch = Callable[[Path], Watched]


def test_pages_stolen_from_a_pipe(
    tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch, tmp_path: Path
) -> None:
    """1,009 pages go from a pipe into the page cache: uncharged without a free. A probe on the put
    path sees it; else two sweeps find them and end their records, though the pages live on."""
    mount = tmp_path / "mount"
    mount.mkdir()
    if "fuse" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no FUSE, the one user of stealing that is at hand")
    folder = make_cgroup("steal")
    watched = watch(folder)
    before = tracer.snapshot().losses.swept

    def read_the_file() -> object:
        served = fuse.mounted(mount, 1009)
        path = served.__enter__()
        with path.open("rb", 0) as file:
            assert sum(iter(lambda: len(file.read(1 << 17)), 0)) == 1009 * workloads.PAGE
        return served

    with held_in(folder, read_the_file):
        tracer.snapshot()
        after = settled(watched, lambda c: at(c, PIPE_WRITE).held_pages <= 3)
        pipe = at(after, PIPE_WRITE)
        assert pipe.charged_pages >= 1009
        assert pipe.held_pages <= 3, "a page or two are the pipe's own"
        swept = tracer.snapshot().losses.swept - before
        if tracer.plan.tier is Tier.TRACEPOINT:
            assert swept >= 1009
        else:
            assert swept == 0, "a probe on the put path sees each page leave"
    subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


@pytest.mark.own_tracer
def test_a_full_map_is_counted_and_leaves_no_wrong_count(make_cgroup: MakeCgroup) -> None:
    """Room for 512 pages or some more, and 1,009 are charged: what is refused is counted, and not held."""
    folder = make_cgroup("full")
    inode = folder.stat().st_ino
    with make_tracer(max_pages=512) as small:
        with held_in(folder, lambda: workloads.fill_pipes(1009)):
            snapshot = small.snapshot()
            row = next(c for c in snapshot.cgroups if c.key.id == inode)
            assert row.held_pages <= 512 + 512 // 4
            assert snapshot.losses.map_full["pages"] >= 1009 - row.held_pages
        deadline = time.monotonic() + 10
        while row.held_pages and time.monotonic() < deadline:
            time.sleep(0.1)
            row = next(c for c in small.snapshot().cgroups if c.key.id == inode)
        assert row.held_pages == 0


def test_a_storm(tracer: Tracer, make_cgroup: MakeCgroup, watch: Watch) -> None:
    """10 seconds of pipes, sockets, forks and page faults: what is left held is no more than the
    losses that were counted explain, and nothing is called a mismatch that they do not."""
    if shutil.which("stress-ng") is None:
        pytest.skip("stress-ng is not installed")
    folder = make_cgroup("storm")
    watched = watch(folder)
    load = ("--pipe=2", "--sock=2", "--fork=2", "--vm=2", "--vm-bytes=256M")
    command = ["stress-ng", *load, "--timeout=10"]

    def storm() -> None:
        subprocess.run(command, check=True, capture_output=True, cwd="/tmp")  # it writes files

    run_in(folder, storm)
    after = settled(watched, nothing_held)
    assert after.charged_pages > 1_000
    assert left(after) <= watched.losses()
    assert certain(tracer) == []


def test_memory_that_was_added_ends_the_tracing(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pages would share bits of the filters with others."""
    monkeypatch.setattr("kmemtrace.tracer.tracer.highest_page_frame", lambda: 1 << 40)
    tracer.snapshot()
    monkeypatch.setattr(tracer, "_memory", 0)
    with pytest.raises(CannotError, match="Memory was added to this machine since the start"):
        tracer.snapshot()
