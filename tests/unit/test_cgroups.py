"""Where the memory controller is and what is charged already, from files as /proc has them; ids and paths."""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from kmemtrace.cgroups.accounting import accounting_refusal, obstacles, own_path
from kmemtrace.cgroups.drift import Traced, read_counter
from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths, Resolved
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
    ("cmdline", "accounts"),
    [
        ("quiet", True),
        ("quiet cgroup.memory=nokmem", False),
        ("cgroup.memory=nosocket,nokmem", False),
        ("cgroup.memory=nosocket cgroup.memory=nokmem quiet", False),
        ('cgroup.memory="nokmem" quiet', False),
        ("cgroup.memory=nosocket", True),
        ("quiet -- cgroup.memory=nokmem", True),  # for init
    ],
)
def test_whether_kernel_memory_is_accounted(cmdline: str, accounts: bool, tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_text(f"{cmdline}\n")
    assert (accounting_refusal(tmp_path / "cmdline") is None) == accounts


@pytest.mark.parametrize(("child", "count"), [(True, 0), (False, 1)])
def test_obstacles(child: bool, count: int, tmp_path: Path) -> None:
    if child:
        (tmp_path / "child").mkdir()
    assert len(obstacles(MemoryHierarchy(2, 0, tmp_path, "/"))) == count


def test_a_controller_that_is_off_may_be_left_out_of_the_table(tmp_path: Path) -> None:
    mount = v2_mount(tmp_path / "mnt", "cpu\n")
    found = proc(tmp_path, None, V2_LINE.format(root="/", mount=mount))
    (found / "cmdline").write_text("quiet cgroup_disable=memory,cpu\n")
    with pytest.raises(CannotError, match="cgroup_disable=memory"):
        memory_hierarchy(found)


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
    assert (own_path(MemoryHierarchy(version, 0, tmp_path, "/"), status) in ("/", None)) is root


class Handles:
    """open_by_handle_at of a kernel: opens the folders by their inode, or fails as told."""

    def __init__(self, mount: Path, error: int = 0) -> None:
        self.mount, self.error = mount, error

    def open_by_handle_at(self, _mount_fd: int, handle: bytes, flags: int) -> int:
        cgroup_id = struct.unpack("=IiQ", handle)[2]
        found = [folder for folder in self.mount.iterdir() if folder.stat().st_ino == cgroup_id]
        if self.error == 0 and found:
            return os.open(found[0], flags)
        ctypes.set_errno(self.error or errno.ESTALE)
        return -1


class Walks:
    """Counts walks, and lets time pass between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.now, self._walk = 0, 1000.0, os.walk
        monkeypatch.setattr(os, "walk", self)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def __call__(self, *args: Any, **named: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        self.count += 1
        return self._walk(*args, **named)


@contextmanager
def paths_of(mount: Path, error: int = 0) -> Iterator[tuple[CgroupPaths, Handles]]:
    with CgroupPaths(MemoryHierarchy(2, 0, mount, "/")) as paths:
        handles = Handles(mount, error)
        paths._libc = handles  # type: ignore[assignment]
        yield paths, handles


def folder_id(folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    return folder.stat().st_ino


NO_ID = 1 << 40
NOT_UTF8 = os.fsdecode(b"x\xff")


@pytest.mark.parametrize("error", [0, errno.EPERM])
def test_a_name_that_is_not_utf8_can_be_shown(error: int, tmp_path: Path) -> None:
    cgroup_id = folder_id(tmp_path / NOT_UTF8)
    with paths_of(tmp_path, error) as (paths, _):
        assert paths.resolve(cgroup_id) == Resolved("/x\\xff", alive=True)
        (tmp_path / NOT_UTF8 / "cgroup.procs").touch()
        assert paths.id_of(f"/{NOT_UTF8}") == (cgroup_id, "/x\\xff")


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_where_handles_cannot_work_paths_are_walked_for(error: int, tmp_path: Path) -> None:
    a, b = folder_id(tmp_path / "a"), folder_id(tmp_path / "b")
    with paths_of(tmp_path, error) as (paths, handles):
        assert paths.resolve(a) == Resolved("/a", alive=True)
        handles.error = errno.EMFILE  # is not come upon
        assert paths.resolve(b) == Resolved("/b", alive=True)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
def test_an_error_that_passes_leaves_one_path_unknown(error: int, tmp_path: Path) -> None:
    a = folder_id(tmp_path / "a")
    with paths_of(tmp_path, error) as (paths, handles):
        assert paths.resolve(a) == Resolved(None, alive=True)
        handles.error = 0
        assert paths.resolve(a) == Resolved("/a", alive=True)
        assert paths.resolve(NO_ID) == Resolved(None, alive=False)
        handles.error = error
        assert paths.resolve(NO_ID) == Resolved(None, alive=False)


def test_a_cgroup_that_is_removed_during_a_walk_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = folder_id(tmp_path / "b")
    removed = str(tmp_path / "a")
    monkeypatch.setattr(os, "walk", lambda *_, **__: [(f, [], []) for f in (removed, str(tmp_path / "b"))])
    with paths_of(tmp_path, errno.EPERM) as (paths, _):
        assert paths.resolve(NO_ID) == Resolved(None, alive=False)
        assert paths.resolve(b) == Resolved("/b", alive=True)


def test_a_walk_that_could_not_see_all_calls_nothing_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = folder_id(tmp_path / "b")

    def cut_short(mount: Path, onerror: Any = lambda _: None) -> Iterator[tuple[str, list[str], list[str]]]:
        yield str(mount), [], []
        onerror(OSError(errno.EMFILE, "Too many open files"))

    with paths_of(tmp_path, errno.EPERM) as (paths, _):
        monkeypatch.setattr(os, "walk", cut_short)
        assert paths.resolve(b) == Resolved(None, alive=True)


def test_a_reading_costs_one_walk_however_many_cgroups_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [folder_id(tmp_path / str(n)) for n in range(6)]
    walks = Walks(monkeypatch)
    with paths_of(tmp_path, errno.EPERM) as (paths, _):
        assert [paths.resolve(i).path for i in ids] == [f"/{n}" for n in range(6)]
        assert walks.count == 1
        for n in range(4):
            (tmp_path / str(n)).rmdir()
        for nth in (2, 3):
            walks.now += 60
            assert [paths.resolve(i).alive for i in ids] == [False] * 4 + [True] * 2
            assert walks.count == nth
        walks.now += 5  # the last ones are taken for granted for longer
        assert [paths.resolve(i) for i in ids[:4]] == [Resolved(f"/{n}", alive=False) for n in range(4)]
        assert walks.count == 3


def test_what_is_asked_for_after_a_walk_is_judged_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = Walks(monkeypatch)
    unnamed = [NO_ID, NO_ID + 1]
    with paths_of(tmp_path, errno.EPERM) as (paths, _):
        assert [paths.resolve(i).alive for i in unnamed] == [False, True]
        born = folder_id(tmp_path / "born")
        assert paths.resolve(born) == Resolved(None, alive=True)
        for nth in (2, 3):
            walks.now += 2
            assert [paths.resolve(i).alive for i in unnamed] == [False, False]
            assert paths.resolve(born) == Resolved("/born", alive=True)
            assert walks.count == nth


@pytest.mark.parametrize(("below", "stocks"), [((), 1), (("a", "a/b", "c"), 4), (tuple("abcdefgh"), 7)])
def test_each_cgroup_below_may_have_been_charged_ahead_too(
    below: tuple[str, ...], stocks: int, tmp_path: Path
) -> None:
    for name in below:
        (tmp_path / name).mkdir()
    (tmp_path / "memory.stat").write_text("anon 0\nfile 0\nsock 0\nkernel 0\n")
    (tmp_path / "memory.current").write_text("0\n")
    found = read_counter(MemoryHierarchy(2, 0, tmp_path, "/"), tmp_path, Traced(held=0, lost=0, taken=0))
    assert found is not None
    assert found.slack == stocks * 66 * (os.cpu_count() or 1)
