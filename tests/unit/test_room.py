"""How much memory is left, from files as cgroups and /proc have them."""

from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.room import Room, memory_room

KILOBYTE = 1024


def cgroup(folder: Path, limit: str, used: int, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\nactive_file 0\ninactive_file {cache}\n")


def proc(folder: Path, path: str, available: int, swap: int = 0) -> Path:
    (folder / "self").mkdir(parents=True)
    (folder / "self" / "cgroup").write_text(f"3:cpu:/elsewhere\n0::{path}\n")
    (folder / "meminfo").write_text(f"MemAvailable:  {available} kB\nSwapFree:  {swap} kB\n")
    return folder


@pytest.mark.parametrize(
    ("outer", "inner", "swap", "found"),
    [
        (("max", 9), ("max", 5), 0, Room(77 * KILOBYTE, "this machine")),
        (("max", 9), ("50", 20), 0, Room(30, "the cgroup /outer/inner (memory.max)")),
        (("max", 9), ("50", 20, 15), 0, Room(45, "the cgroup /outer/inner (memory.max)")),  # makes way
        (("max", 9), ("50", 20), 1, Room(30 + KILOBYTE, "the cgroup /outer/inner (memory.max)")),
        (("40", 30), ("50", 20), 0, Room(10, "the cgroup /outer (memory.max)")),
        (("40", 41), ("50", 20), 0, Room(0, "the cgroup /outer (memory.max)")),
    ],
)
def test_the_least_that_is_left(
    outer: tuple[str, int], inner: tuple[str, int], swap: int, found: Room, tmp_path: Path
) -> None:
    mount = tmp_path / "mnt"
    cgroup(mount / "outer", *outer)
    cgroup(mount / "outer" / "inner", *inner)
    files = proc(tmp_path / "proc", "/outer/inner", 77, swap)
    assert memory_room(MemoryHierarchy(2, 0, mount, "/"), files) == found


def test_a_container_sees_its_own_limit_at_the_mount(tmp_path: Path) -> None:
    """Where it has no cgroup namespace, the host's path names what is mounted."""
    cgroup(tmp_path / "mnt", "50", 20)
    files = proc(tmp_path / "proc", "/docker/4f2a", 77)
    room = memory_room(MemoryHierarchy(2, 0, tmp_path / "mnt", "/docker/4f2a"), files)
    assert room == Room(30, "the cgroup / (memory.max)")


def test_nothing_is_known_where_nothing_tells(tmp_path: Path) -> None:
    assert memory_room(None, tmp_path) is None
