"""What a cgroup's path says of who lives there: container, pod or systemd unit."""

import functools
import re
from dataclasses import dataclass

_ID = r"(?P<id>[0-9a-f]{64})"
_CONTAINERS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("docker", rf"^docker-{_ID}\.scope$"),
        ("containerd", rf"^cri-containerd-{_ID}\.scope$"),
        ("cri-o", rf"^crio-{_ID}(\.scope)?$"),
        ("podman", rf"^libpod-{_ID}(\.scope)?$"),
    )
)
_BARE_ID = re.compile(rf"^{_ID}$")
_POD = re.compile(
    r"pod(?P<uid>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(\.slice)?$"
)
_UNIT = re.compile(r".\.(service|scope|socket|mount|swap)$")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_SHORT, _SHORT_POD = 12, 8
_LXC = "lxc"


@dataclass(frozen=True, slots=True)
class Names:
    """Each empty where the path does not tell."""

    pod: str = ""
    """Its UID, with dashes; of a static pod 32 hexadecimal digits."""
    runtime: str = ""
    container: str = ""
    """The id of 64 hexadecimal digits; of LXC the name."""
    unit: str = ""


@functools.lru_cache(maxsize=1 << 16)
def names(path: str) -> Names:
    parts = [part for part in path.split("/") if part]
    runtime, container = _container(parts) or _lxc(parts) or ("", "")
    return Names(_pod(parts), runtime, container, _unit(parts))


@functools.lru_cache(maxsize=1 << 16)
def label(path: str) -> str | None:
    """E.g. "docker 4f2a9c1b03de", "pod 8a7f2c31 containerd 4f2a9c1b03de", "nginx.service"; None
    where the path says nothing of the kind."""
    found = names(path)
    words = [f"pod {found.pod[:_SHORT_POD]}"] if found.pod else []
    if found.container:
        words += [found.runtime, found.container if found.runtime == _LXC else found.container[:_SHORT]]
    return " ".join(words) or found.unit or None


def _pod(parts: list[str]) -> str:
    if not any(part.startswith("kubepods") for part in parts):
        return ""
    for part in reversed(parts):
        found = _POD.search(part)
        if found:
            return found["uid"].replace("_", "-")
    return ""


def _container(parts: list[str]) -> tuple[str, str] | None:
    """Runtime and id."""
    for i in range(len(parts) - 1, -1, -1):
        for runtime, pattern in _CONTAINERS:
            found = pattern.match(parts[i])
            if found:
                return runtime, found["id"]
        found = _BARE_ID.match(parts[i])
        if found:
            return _runtime_of_bare_id(parts[:i]), found["id"]
    return None


def _runtime_of_bare_id(parents: list[str]) -> str:
    """The cgroupfs driver names a container's cgroup by its id alone; its parents tell more."""
    if "docker" in parents:
        return "docker"
    if any(parent.startswith("libpod") for parent in parents):
        return "podman"
    return "container"


def _lxc(parts: list[str]) -> tuple[str, str] | None:
    """Runtime and name."""
    for i, part in enumerate(parts):
        if part == "lxc" and i + 1 < len(parts):
            return _LXC, parts[i + 1]
        if part.startswith("lxc.payload."):
            return _LXC, part.removeprefix("lxc.payload.")
    return None


def _unit(parts: list[str]) -> str:
    for part in reversed(parts):
        if _UNIT.search(part):
            return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), part)
    return ""
