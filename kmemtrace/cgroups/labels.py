"""What a cgroup's path says of who lives there: container, pod or systemd unit."""

import re

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
_SHORT = 12


def label(path: str) -> str | None:
    """E.g. "docker 4f2a9c1b03de", "pod 8a7f2c31 containerd 4f2a9c1b03de", "nginx.service"; None
    where the path says nothing of the kind."""
    parts = [part for part in path.split("/") if part]
    words = [word for word in (_pod(parts), _container(parts)) if word]
    return " ".join(words) or _lxc(parts) or _unit(parts)


def _pod(parts: list[str]) -> str | None:
    if not any(part.startswith("kubepods") for part in parts):
        return None
    for part in reversed(parts):
        found = _POD.search(part)
        if found:
            return f"pod {found['uid'][:8]}"
    return None


def _container(parts: list[str]) -> str | None:
    for i in range(len(parts) - 1, -1, -1):
        for runtime, pattern in _CONTAINERS:
            found = pattern.match(parts[i])
            if found:
                return f"{runtime} {found['id'][:_SHORT]}"
        found = _BARE_ID.match(parts[i])
        if found:
            return f"{_runtime_of_bare_id(parts[:i])} {found['id'][:_SHORT]}"
    return None


def _runtime_of_bare_id(parents: list[str]) -> str:
    """The cgroupfs driver names a container's cgroup by its id alone; its parents tell more."""
    if "docker" in parents:
        return "docker"
    if any(parent.startswith("libpod") for parent in parents):
        return "podman"
    return "container"


def _lxc(parts: list[str]) -> str | None:
    for i, part in enumerate(parts):
        if part == "lxc" and i + 1 < len(parts):
            return f"lxc {parts[i + 1]}"
        if part.startswith("lxc.payload."):
            return f"lxc {part.removeprefix('lxc.payload.')}"
    return None


def _unit(parts: list[str]) -> str | None:
    for part in reversed(parts):
        if _UNIT.search(part):
            return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), part)
    return None
