"""Where the memory controller is and what is charged already, from files as /proc has them."""

import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from kmemtrace.cgroups.accounting import in_root_cgroup, obstacles
from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.cgroups.preexisting import count_preexisting
from kmemtrace.errors import CannotError

V1_LINE = "36 25 0:30 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,memory\n"
V2_LINE = "35 24 0:29 {root} {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER_LINE = "37 25 0:31 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"


def proc(folder: Path, cgroups: str | None, mountinfo: str) -> Path:
    (folder / "self").mkdir()
    (folder / "self" / "mountinfo").write_text(mountinfo)
    if cgroups is not None:
        header = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
        (folder / "cgroups").write_text(header + cgroups)
    return folder


def v2_mount(folder: Path, controllers: str) -> Path:
    folder.mkdir()
    (folder / "cgroup.controllers").write_text(controllers)
    return folder


def test_v1(tmp_path: Path) -> None:
    lines = OTHER_LINE + V1_LINE.format(root="/", mount="/sys/fs/cgroup/memory")
    found = memory_hierarchy(proc(tmp_path, "memory\t4\t12\t1\n", lines))
    assert found == MemoryHierarchy(1, 4, Path("/sys/fs/cgroup/memory"), "/")


def test_v2(tmp_path: Path) -> None:
    mount = v2_mount(tmp_path / "mnt", "cpu io memory pids\n")
    found = memory_hierarchy(proc(tmp_path, "memory\t0\t1\t1\n", V2_LINE.format(root="/", mount=mount)))
    assert found == MemoryHierarchy(2, 0, mount, "/")


def test_hybrid_takes_the_hierarchy_that_has_the_controller(tmp_path: Path) -> None:
    mount = v2_mount(tmp_path / "unified", "\n")
    lines = V1_LINE.format(root="/", mount="/v1") + V2_LINE.format(root="/", mount=mount)
    assert memory_hierarchy(proc(tmp_path, "memory\t7\t1\t1\n", lines)).version == 1


def test_kernels_without_v1_leave_proc_cgroups_out(tmp_path: Path) -> None:
    mount = v2_mount(tmp_path / "mnt", "memory\n")
    assert memory_hierarchy(proc(tmp_path, None, V2_LINE.format(root="/", mount=mount))).version == 2


def test_a_container_sees_a_part_and_a_mount_may_have_spaces(tmp_path: Path) -> None:
    line = V1_LINE.format(root="/docker/4f2a", mount=r"/my\040cgroups")
    found = memory_hierarchy(proc(tmp_path, "memory\t4\t12\t1\n", line))
    assert (found.root, found.mount) == ("/docker/4f2a", Path("/my cgroups"))


@pytest.mark.parametrize(
    ("cgroups", "says"),
    [("memory\t0\t1\t0\n", "cgroup_disable=memory"), ("memory\t0\t1\t1\n", "mount -t cgroup2")],
)
def test_no_memory_controller(cgroups: str, says: str, tmp_path: Path) -> None:
    mount = v2_mount(tmp_path / "mnt", "cpu\n")
    with pytest.raises(CannotError, match=says):
        memory_hierarchy(proc(tmp_path, cgroups, V2_LINE.format(root="/", mount=mount)))


@pytest.mark.parametrize(
    ("cmdline", "child", "count"),
    [
        ("quiet", True, 0),
        ("quiet cgroup.memory=nokmem", True, 1),
        ("cgroup.memory=nosocket,nokmem", True, 1),
        ("cgroup.memory=nosocket", True, 0),
        ("quiet", False, 1),
    ],
)
def test_obstacles(cmdline: str, child: bool, count: int, tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_text(cmdline)
    mount = tmp_path / "mnt"
    mount.mkdir()
    if child:
        (mount / "child").mkdir()
    assert len(obstacles(MemoryHierarchy(2, 0, mount, "/"), tmp_path / "cmdline")) == count


LRU, SLAB, BUDDY, HEAD, TAIL = (1 << bit for bit in (5, 7, 10, 15, 16))


def pages(folder: Path, *runs: tuple[int, int, int]) -> Path:
    """Files with runs of (how many, owner, flags)."""
    for name, at in (("kpagecgroup", 1), ("kpageflags", 2)):
        (folder / name).write_bytes(b"".join(np.full(run[0], run[at], "u8").tobytes() for run in runs))
    return folder


@pytest.mark.parametrize(
    ("runs", "charged"),
    [
        (((5, 7, 0), (3, 0, 0)), 5),
        (((5, 7, LRU), (4, 7, SLAB), (2, 7, BUDDY)), 0),
        (((1, 7, HEAD), (7, 0, TAIL), (1, 0, HEAD), (7, 0, TAIL)), 8),  # tails have no owner of their own
        (((16383, 0, 0), (1, 7, HEAD), (3, 0, TAIL), (2, 0, 0)), 4),  # across two chunks
    ],
)
def test_count_preexisting(runs: tuple[tuple[int, int, int], ...], charged: int, tmp_path: Path) -> None:
    assert count_preexisting(threading.Event(), pages(tmp_path, *runs)) == charged


def test_nothing_is_counted_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert count_preexisting(threading.Event(), tmp_path) is None
    stopped = threading.Event()
    stopped.set()
    assert count_preexisting(stopped, pages(tmp_path, (5, 7, 0))) is None


@pytest.mark.parametrize(
    ("version", "lines", "root"),
    [
        (2, "0::/\n", True),
        (2, "0::/user.slice/session.scope\n", False),
        (2, "4:pids:/deep\n0::/\n", True),
        (1, "9:cpu,memory:/\n0::/deep\n", True),
        (1, "9:memory:/a:b\n0::/\n", False),
        (1, "0::/deep\n", True),
    ],
)
def test_whether_we_run_in_the_root_cgroup(
    version: Literal[1, 2], lines: str, root: bool, tmp_path: Path
) -> None:
    status = tmp_path / "cgroup"
    status.write_text(lines)
    assert in_root_cgroup(MemoryHierarchy(version, 0, tmp_path, "/"), status) is root
