"""Tells whether kernel memory is accounted at all on this machine, and what keeps it from being."""

from pathlib import Path

from kmemtrace.cgroups.boot_options import CMDLINE, values
from kmemtrace.cgroups.mounts import MemoryHierarchy


def accounting_refusal(cmdline: Path = CMDLINE) -> str | None:
    """Returns why no kernel memory is charged to anybody, with the remedy; None where it is charged.

    With nokmem no cgroup gets a kernel side of its account (memcg_online_kmem() returns at once), on v1 and
    on v2, from 4.5 to 7.3. User memory is charged all the same, so that the hierarchy looks as ever.
    """
    if "nokmem" not in values("cgroup.memory", cmdline):
        return None
    return (
        "This kernel accounts no kernel memory (cgroup.memory=nokmem on its command line): no page is "
        "charged to any cgroup, so there is nothing to trace or to judge. Boot without that option."
    )


def obstacles(hierarchy: MemoryHierarchy) -> list[str]:
    """Returns reasons why less is charged than one might expect; none where accounting is in full use."""
    found = []
    if not any(child.is_dir() for child in hierarchy.mount.iterdir()):
        found.append(
            "there is no memory cgroup but the root, and the root is never charged: run the "
            "workload in a cgroup of its own"
        )
    return found


def own_path(hierarchy: MemoryHierarchy, status: Path = Path("/proc/self/cgroup")) -> str | None:
    """Returns this process's memory cgroup as its cgroup namespace names it; None where none is told."""
    for line in status.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") if hierarchy.version == 1 else controllers == "":
            return path
    return None
