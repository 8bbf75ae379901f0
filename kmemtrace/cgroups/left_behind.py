"""Cgroups of commands whose `verify` was killed: what such a run could not clear up, the next one does."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.workload import NAME, WorkloadCgroup, locked


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A cgroup that was removed."""

    path: str
    processes: tuple[str, ...]
    """Those that were still in it, and were ended: "name (pid)"."""


def clear_left_behind(hierarchy: MemoryHierarchy) -> list[LeftBehind]:
    """Ends and removes what is left of each verification whose process is dead: of one that lives, its
    cgroup is locked, in whatever namespaces it may be.

    Raises CannotError where one cannot be removed.
    """
    folders = [folder for folder in hierarchy.mount.iterdir() if NAME.fullmatch(folder.name)]
    return [left for folder in folders if (left := _clear(folder)) is not None]


def _clear(folder: Path) -> LeftBehind | None:
    with locked(folder, wait=False) as ours:
        if not ours:
            return None
        cgroup = WorkloadCgroup(folder, f"/{folder.name}")
        processes = tuple(f"{_name(pid)} ({pid})" for pid in cgroup.processes())
        cgroup.kill()
        cgroup.remove()
        return LeftBehind(cgroup.path, processes)


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="backslashreplace").strip()
    return "a process that has ended"
