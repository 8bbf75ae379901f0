"""Finds the memory controller: its cgroup version, its hierarchy and where that is mounted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kmemtrace.cgroups.boot_options import values
from kmemtrace.errors import CannotError


@dataclass(frozen=True, slots=True)
class MemoryHierarchy:
    """The hierarchy that the memory controller is attached to."""

    version: Literal[1, 2]
    hierarchy_id: int
    """The kernel's cgroup_root.hierarchy_id; cgroup v2's is 0."""
    mount: Path
    root: str
    """Path, within the hierarchy, of the folder that is mounted; "/" outside cgroup namespaces."""


def memory_hierarchy(proc: Path = Path("/proc")) -> MemoryHierarchy:
    """Finds the hierarchy of the memory controller.

    Raises:
        CannotError: The controller is switched off or its hierarchy not mounted; the message says which.
    """
    controllers = _controllers(proc / "cgroups")
    hierarchy_id, enabled = controllers.get("memory", (0, True))
    # The command line too: from 6.15 on the table has only controllers that can be on v1 (af000ce85293).
    if not enabled or "memory" in values("cgroup_disable", proc / "cmdline"):
        raise CannotError(
            "The memory controller is switched off (cgroup_disable=memory on the kernel's command "
            "line), so nothing is charged. Boot without that option."
        )
    for version, root, mount, options in _cgroup_mounts(proc / "self" / "mountinfo"):
        if version == 1 and "memory" in options:
            return MemoryHierarchy(1, hierarchy_id, mount, root)
        if version == 2 and hierarchy_id == 0 and _has_memory(mount, root):
            return MemoryHierarchy(2, 0, mount, root)
    raise CannotError(
        "No cgroup hierarchy with the memory controller is mounted. Mount it: mount -t cgroup2 none "
        "/sys/fs/cgroup (in a container: start it with the host's /sys/fs/cgroup)."
    )


def _controllers(path: Path) -> dict[str, tuple[int, bool]]:
    """Returns (hierarchy id, enabled) by controller, from /proc/cgroups.

    Kernels built without cgroup v1 leave controllers out of it, and then nothing is known here.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines if not line.startswith("#"))
    return {row[0]: (int(row[1]), row[3] == "1") for row in rows if len(row) == 4}


def _cgroup_mounts(path: Path) -> Iterator[tuple[int, str, Path, list[str]]]:
    """Yields (cgroup version, root, mount point, super options) of each cgroup mount.

    The last mounted comes first, since it hides what lies below it.
    """
    for line in reversed(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            version = 2 if kind == "cgroup2" else 1
            yield version, _unescape(fields[3]), Path(_unescape(fields[4])), options.split(",")


def _has_memory(mount: Path, root: str) -> bool:
    """Returns whether a mounted v2 hierarchy holds the memory controller.

    cgroup.controllers names what the mounted folder could use; in a v2 hierarchy that holds the memory
    controller its root always lists it.
    """
    try:
        return "memory" in (mount / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return root != "/"


def _unescape(text: str) -> str:
    """Takes back the octal codes that mountinfo has for space, tab, newline and backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
