"""Tells how much memory this process can still have, and what limits it: its cgroups, or the machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kmemtrace.cgroups.accounting import own_path
from kmemtrace.cgroups.mounts import MemoryHierarchy


@dataclass(frozen=True, slots=True)
class Room:
    bytes: int
    limit: str
    """What has no more than that left, such as "the cgroup /x (memory.max)"."""


_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
    2: ("memory.max", "memory.current", ("active_file", "inactive_file")),
}
"""Files by cgroup version: the limit, what is charged, and the lines of memory.stat for the page cache in
that, which makes way."""


def memory_room(hierarchy: MemoryHierarchy | None, proc: Path = Path("/proc")) -> Room | None:
    """Finds the least that is left in any cgroup that this process is in, or on the machine.

    What can be swapped out counts as left.

    Returns:
        The least room; None where nothing tells.
    """
    meminfo = _numbers(proc / "meminfo", 1024)
    swap = meminfo.get("SwapFree:", 0)
    rooms = [] if hierarchy is None else list(_of_cgroups(hierarchy, proc / "self" / "cgroup", swap))
    if "MemAvailable:" in meminfo:
        rooms.append(Room(meminfo["MemAvailable:"] + swap, "this machine"))
    return min(rooms, key=lambda room: room.bytes, default=None)


def _of_cgroups(hierarchy: MemoryHierarchy, status: Path, swap: int) -> Iterator[Room]:
    limit_file, usage_file, cache = _FILES[hierarchy.version]
    for folder in _folders(hierarchy, status):
        try:
            limit = int((folder / limit_file).read_text(encoding="ascii"))
            used = int((folder / usage_file).read_text(encoding="ascii"))
        except (OSError, ValueError):  # the root has no limit, and v2 writes none as "max"
            continue
        stat = _numbers(folder / "memory.stat")
        name = f"/{folder.relative_to(hierarchy.mount)}" if folder != hierarchy.mount else "/"
        left = limit - used + sum(stat.get(one, 0) for one in cache) + swap
        yield Room(max(0, left), f"the cgroup {name} ({limit_file})")


def _folders(hierarchy: MemoryHierarchy, status: Path) -> Iterator[Path]:
    """Yields the folder of this process's cgroup, and those above it, as far as they are mounted here."""
    path = PurePosixPath(own_path(hierarchy, status) or "/")
    below = path.relative_to(hierarchy.root) if path.is_relative_to(hierarchy.root) else PurePosixPath()
    folder = hierarchy.mount / below
    yield folder
    yield from (above for above in folder.parents if above.is_relative_to(hierarchy.mount))


def _numbers(path: Path, unit: int = 1) -> dict[str, int]:
    """Returns the first number of each line by its first word; none where the file cannot be read."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) * unit for words in map(str.split, lines) if len(words) > 1}
