"""Says in which order cgroups get series of their own, where not all can have some."""

from collections import defaultdict
from collections.abc import Mapping

_LEVELS = 8
"""Levels below which all cgroups are taken for children of the same parent. Systemd's and Kubernetes' cgroups
have five."""


def by_turns(worth: Mapping[str, float]) -> list[str]:
    """Orders the paths of cgroups by what they are worth.

    The children of a cgroup take turns, by what all that is below each is worth: one that is worth a third of
    them gets every third turn. So whoever may make cgroups below its own gains no series from others by
    making more of them, but only by what they hold together.

    Turns are those of D'Hondt's way to share out seats: https://en.wikipedia.org/wiki/D%27Hondt_method.
    """
    return _ordered([(path.strip("/").split("/", _LEVELS), path) for path in worth], worth, 0)


def _ordered(cgroups: list[tuple[list[str], str]], worth: Mapping[str, float], level: int) -> list[str]:
    """Orders cgroups that have the same names up to this level."""
    below: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
    turns: list[tuple[float, str]] = []
    for names, path in cgroups:
        if level == _LEVELS or len(names) == level or path == "/":
            turns.append((-worth[path], path))
        else:
            below[names[level]].append((names, path))
    for children in below.values():
        total = sum(worth[path] for _, path in children)
        inner = _ordered(children, worth, level + 1) if len(children) > 1 else [children[0][1]]
        turns += [(-total / turn, path) for turn, path in enumerate(inner, 1)]
    return [path for _, path in sorted(turns)]
