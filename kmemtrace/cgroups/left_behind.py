"""Clears up the cgroups of commands whose `verify` was killed before it could."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.workload import NAME, WorkloadCgroup, locked
from kmemtrace.errors import CannotError


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A cgroup whose maker is dead."""

    path: str
    processes: tuple[str, ...]
    """Processes that were still in it, and were ended: "name (pid)"."""
    stays: str | None
    """Why the cgroup could not be removed; None where it was."""


def clear_left_behind(hierarchy: MemoryHierarchy) -> list[LeftBehind]:
    """Ends and removes what is left of each verification whose process is dead.

    The cgroup of one that lives is locked, in whatever namespaces it may be.

    Returns:
        What was found, one entry for each cgroup.
    """
    folders = [folder for folder in hierarchy.mount.iterdir() if NAME.fullmatch(folder.name)]
    return [left for folder in folders if (left := _clear(folder)) is not None]


def _clear(folder: Path) -> LeftBehind | None:
    with locked(folder, wait=False) as ours:
        if not ours:
            return None
        cgroup = WorkloadCgroup(folder, f"/{folder.name}")
        pids = cgroup.processes()
        if 0 in pids:  # so the kernel calls those of namespaces that we cannot see into
            return LeftBehind(cgroup.path, (), "its processes are in another pid namespace: end them there")
        processes = tuple(f"{_name(pid)} ({pid})" for pid in pids)
        try:
            cgroup.kill()
            cgroup.remove()
        except CannotError as error:
            return LeftBehind(cgroup.path, processes, str(error))
        return LeftBehind(cgroup.path, processes, None)


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="backslashreplace").strip()
    return "a process that has ended"
