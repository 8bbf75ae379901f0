"""Is kernel memory accounted at all on this machine? What keeps it from being, in plain words."""

from pathlib import Path

from kmemtrace.cgroups.mounts import MemoryHierarchy


def obstacles(hierarchy: MemoryHierarchy, cmdline: Path = Path("/proc/cmdline")) -> list[str]:
    """Reasons why little or nothing is charged, none where accounting is in full use."""
    found = []
    options = cmdline.read_text(encoding="utf-8", errors="replace").split()
    if any(_turns_kmem_off(option) for option in options):
        found.append(
            "kernel memory accounting is off (cgroup.memory=nokmem on the kernel's command line): "
            "no page is charged"
        )
    if not any(child.is_dir() for child in hierarchy.mount.iterdir()):
        found.append(
            "there is no memory cgroup but the root, and the root is never charged: run the "
            "workload in a cgroup of its own"
        )
    return found


def in_root_cgroup(hierarchy: MemoryHierarchy, status: Path = Path("/proc/self/cgroup")) -> bool:
    """Whether this process is in the root of the memory hierarchy, whose tasks are never charged. In
    a cgroup namespace its root passes for it."""
    for line in status.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") if hierarchy.version == 1 else controllers == "":
            return path == "/"
    return True


def _turns_kmem_off(option: str) -> bool:
    name, _, value = option.partition("=")
    return name == "cgroup.memory" and "nokmem" in value.split(",")
