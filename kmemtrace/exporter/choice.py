"""Says in which order cgroups get series of their own, where not all can have some."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter

_Turn = tuple[float, str, "_Node | None"]
"""What a turn is ordered by: less what it is worth, and the path that it is of; and the child of which it
is the first turn."""
_Later = tuple[float, str, int, "_Node", Iterator[str]]
"""A further turn: what it is ordered by, the how many-th it is of which child, and the paths that follow."""
_order = itemgetter(0, 1)

_LEVELS = 8
"""Levels below which all cgroups are taken for children of the same parent. Systemd's and Kubernetes' cgroups
have five."""


class Turns:
    """Orders the paths of cgroups by what they are worth.

    The children of a cgroup take turns, by what all that is below each is worth: one that is worth a third of
    them gets every third turn. So whoever may make cgroups below its own gains no series from others by
    making more of them, but only by what they hold together.

    Turns are those of D'Hondt's way to share out seats: https://en.wikipedia.org/wiki/D%27Hondt_method. What
    is put costs as many steps as it has levels; of an order only so much is worked out as is asked for.
    """

    def __init__(self) -> None:
        self._worth: dict[str, float] = {}
        self._root = _Node("")

    def __iter__(self) -> Iterator[str]:
        """Yields all paths, those first that get series before others; nothing may be put meanwhile."""
        return self._root.paths()

    def put(self, path: str, worth: float) -> None:
        """Says what a cgroup is worth: more than 0, or 0 to take it out."""
        before = self._worth.pop(path, 0)
        if worth:
            self._worth[path] = worth
        way = [self._root]
        for name in [] if path == "/" else path.strip("/").split("/", _LEVELS)[:_LEVELS]:
            way.append(way[-1].children.setdefault(name, _Node(name)))
        turns = [node.turn() for node in way]
        way[-1].swap((-before, path, None) if before else None, (-worth, path, None) if worth else None)
        for node in way:
            node.worth += worth - before
        for (below, turn), (above, _) in pairwise(reversed(list(zip(way, turns, strict=True)))):
            above.swap(turn, below.turn())
            if not below.firsts:
                del above.children[below.name]


class _Node:
    """A cgroup, and those below it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: dict[str, _Node] = {}
        self.worth: float = 0
        """What all are worth together."""
        self.firsts: list[_Turn] = []
        """The first turn of each child, and the only one of the cgroup itself, in their order."""

    def turn(self) -> _Turn | None:
        """Returns its first turn; None where there is nothing in it."""
        return (-self.worth, self.firsts[0][1], self) if self.firsts else None

    def swap(self, old: _Turn | None, new: _Turn | None) -> None:
        """Takes a first turn out, and puts another in its place in the order."""
        if old is not None:
            del self.firsts[bisect_left(self.firsts, old[:2], key=_order)]
        if new is not None:
            insort(self.firsts, new, key=_order)

    def paths(self) -> Iterator[str]:
        """Yields the paths of all, in their order."""
        later: list[_Later] = []
        for worth, first, below in self.firsts:
            while later and later[0][:2] < (worth, first):
                yield _next(later)
            yield first
            if below is not None:
                paths = below.paths()
                next(paths)  # which was the first
                _add(later, 2, below, paths)
        while later:
            yield _next(later)


def _add(later: list[_Later], turn: int, of: _Node, paths: Iterator[str]) -> None:
    """Puts the next turn of a child into a heap, if it has one."""
    path = next(paths, None)
    if path is not None:
        heapq.heappush(later, (-of.worth / turn, path, turn, of, paths))


def _next(later: list[_Later]) -> str:
    """Takes the path whose turn is next out of a heap."""
    _, path, turn, of, paths = heapq.heappop(later)
    _add(later, turn + 1, of, paths)
    return path
