"""Tells from a cgroup's path who lives there: a container, a pod or a systemd unit."""

import functools
import re
from dataclasses import dataclass

_ID = r"(?P<id>[0-9a-f]{64})"
_SCOPES = {"docker": "docker", "cri-containerd": "containerd", "crio": "cri-o", "libpod": "podman"}
_IN_SLICES = re.compile(rf"(?P<prefix>{'|'.join(_SCOPES)})-{_ID}\.scope|crio-(?P<crio>[0-9a-f]{{64}})")
"""Names that runtimes ask systemd for (the parts of moby's, containerd's, CRI-O's and Podman's cgroupsPath
behind the slice), and that CRI-O makes in the slice of a pod."""
_IN_SERVICE = re.compile(rf"libpod-payload-{_ID}")
"""Name of Podman's part of a unit's own cgroup (--cgroups=split, as Quadlet has it)."""
_POD = r"pod(?P<uid>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD_SLICE = re.compile(rf"(.+-)?kubepods(-besteffort|-burstable)?-{_POD}\.slice")
_POD_FOLDER = re.compile(rf"kubepods/((besteffort|burstable)/)?{_POD}")
_FOLDERS = {
    "docker": re.compile(rf"(docker|ecs/[^/]+)/{_ID}"),
    "container": re.compile(rf"{_POD_FOLDER.pattern}/{_ID}"),
    "cri-o": re.compile(rf"({_POD_FOLDER.pattern}|crio)/crio-{_ID}"),
    "podman": re.compile(rf"libpod_parent/([0-9a-f]{{64}}/)?libpod-{_ID}"),
}
"""Paths below a root where runtimes make a container's cgroup themselves (the driver "cgroupfs")."""
_MOST_FOLDERS = 4
"""Most levels that the patterns above have."""
_MANAGER = re.compile(r"user@\d+\.service")
_INSIDE = ("container", "init")
"""Names of the cgroup where the tree of a container begins by crun, and by those that follow it, with cgroup
v2."""
_UNIT = re.compile(r".\.(service|scope|socket|mount|swap)$")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_SHORT, _SHORT_POD = 12, 8
_LXC = "lxc"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of who lives in a cgroup; each is empty where the path does not tell."""

    pod: str = ""
    """The pod's UID, with dashes; of a static pod 32 hexadecimal digits."""
    runtime: str = ""
    container: str = ""
    """The container's id of 64 hexadecimal digits; of LXC its name."""
    unit: str = ""


@functools.lru_cache(maxsize=1 << 16)
def names(path: str) -> Names:
    parts = [part for part in path.split("/") if part]
    levels = _levels(parts)[::-1]
    found = next((level.container for level in levels if level.container), None)
    runtime, container = found or _lxc(parts) or ("", "")
    pod = next((level.pod for level in levels if level.pod), "")
    return Names(pod, runtime, container, _unit(parts))


@functools.lru_cache(maxsize=1 << 16)
def label(path: str) -> str | None:
    """Says in short who lives in a cgroup.

    Returns:
        E.g. "docker 4f2a9c1b03de", "pod 8a7f2c31 containerd 4f2a9c1b03de", "nginx.service"; None where the
        path says nothing of the kind.
    """
    found = names(path)
    words = [f"pod {found.pod[:_SHORT_POD]}"] if found.pod else []
    if found.container:
        words += [found.runtime, found.container if found.runtime == _LXC else found.container[:_SHORT]]
    return " ".join(words) or found.unit or None


@dataclass(frozen=True, slots=True)
class _Level:
    """What one cgroup of a path is; the meaning of the next ones follows from it."""

    is_root: bool = False
    """Whether a tree begins below it: the host's, that of a user's manager, or a container's."""
    slice: str = ""
    """Its name if a systemd makes it: such a slice lies in those that its name says, a-b.slice in a.slice,
    below a root."""
    container: tuple[str, str] | None = None
    """Runtime and id, if this is where a runtime makes containers."""
    pod: str = ""


def _levels(parts: list[str]) -> list[_Level]:
    """Judges each cgroup of a path by where it is, the root first.

    A name alone makes no container: whoever was delegated a cgroup may name what he makes there as he likes.
    """
    levels = [_Level(is_root=True)]
    for end, name in enumerate(parts, 1):
        slice_ = _slice(name, levels[-1])
        roots = [at for at in range(max(0, end - _MOST_FOLDERS), end) if levels[at].is_root]
        folders = ["/".join(parts[at:end]) for at in roots]
        container = _made_in_unit(parts[max(0, end - 2) : end], levels) or _made_in_folder(folders)
        pod = _POD_SLICE.fullmatch(name) if slice_ else _first(_POD_FOLDER, folders)
        is_root = container is not None or _is_root(parts[max(0, end - 2) : end], levels)
        levels.append(_Level(is_root, slice_, container, pod["uid"].replace("_", "-") if pod else ""))
    return levels


def _slice(name: str, above: _Level) -> str:
    stem = name.removesuffix(".slice")
    parent, _, last = stem.rpartition("-")
    fits = stem != name and last and parent == above.slice and (parent or above.is_root)
    return stem if fits else ""


def _made_in_unit(names: list[str], levels: list[_Level]) -> tuple[str, str] | None:
    """Returns runtime and id of a container whose cgroup is in a unit.

    Args:
        names: The cgroup's own name, behind that of its parent.
        levels: What the cgroups above it are; the last is its parent.
    """
    scope = _IN_SLICES.fullmatch(names[-1])
    if scope and levels[-1].slice:
        return _SCOPES[scope["prefix"] or "crio"], scope["id"] or scope["crio"]
    payload = _IN_SERVICE.fullmatch(names[-1])
    if payload and names[0].endswith(".service") and levels[-2].slice:
        return "podman", payload["id"]
    return None


def _made_in_folder(folders: list[str]) -> tuple[str, str] | None:
    tries = ((runtime, _first(pattern, folders)) for runtime, pattern in _FOLDERS.items())
    return next(((runtime, found["id"]) for runtime, found in tries if found), None)


def _first(pattern: re.Pattern[str], folders: list[str]) -> re.Match[str] | None:
    return next(filter(None, map(pattern.fullmatch, folders)), None)


def _is_root(names: list[str], levels: list[_Level]) -> bool:
    """Returns whether a tree begins in a cgroup that is no container; the arguments are _made_in_unit()'s."""
    *parent, name = names
    if _MANAGER.fullmatch(name) or _lxc(names):
        return True
    if name == "payload":  # systemd-nspawn's
        return bool(parent) and parent[0].endswith((".service", ".scope"))
    return name in _INSIDE and levels[-1].container is not None


def _lxc(parts: list[str]) -> tuple[str, str] | None:
    """Returns "lxc" and the container's name, if a part of the path is LXC's."""
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
