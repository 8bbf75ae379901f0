"""Adds up what cgroups hold that are told of in the same series."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kmemtrace.cgroups.labels import names
from kmemtrace.exporter.label import size
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.metrics import Metric
from kmemtrace.model.snapshot import Cgroup, CgroupKey

_Key = TypeVar("_Key", bound=str)
_FURTHER = 5
"""A metric has one series of each cgroup, but for one more state and four more parts."""
_LINES, _LINE_BYTES = sum("cgroup" in metric.labels for metric in Metric) + _FURTHER, 100
"""How many lines one cgroup's series take at most, as many as metrics have its label, and how many bytes a
line takes beside the value of the label: its name, state and figure."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What some cgroups hold."""

    pages: Mapping[CgroupState, int] = field(default_factory=dict)
    """Pages held by the state of the cgroup that holds them; a state that nobody is in is left out."""
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes by the parts of the cgroup's account, with "kernel" and "unexplained"; what was not read is left
    out."""


class Together:
    """The cgroups of one label: one that lives, and removed ones that had its path."""

    def __init__(self, label: str, path: str) -> None:
        self.label, self.path = label, path
        self.cost = bytes_of(label, path)
        self.cgroups: dict[CgroupKey, Cgroup] = {}
        self.holding = Holding()

    @property
    def is_gone(self) -> bool:
        """Whether none of them is there any more."""
        return all(cgroup.state is CgroupState.GONE for cgroup in self.cgroups.values())

    def add_up(self) -> None:
        """Works out anew what they hold; where that is as before, `holding` stays the same object."""
        now = Holding(_pages(self.cgroups.values()), _memory(self.cgroups.values()))
        if now != self.holding:
            self.holding = now

    def worth(self, page_size: int) -> int:
        """Returns how many bytes they hold, and one more.

        What was charged does not count: to charge and uncharge for ever takes but one page.
        """
        return 1 + sum(_holds(cgroup, page_size) for cgroup in self.cgroups.values())


class Rest:
    """Adds up what those hold that come, and go again."""

    def __init__(self) -> None:
        self._pages, self._memory = Total[CgroupState](), Total[str]()
        self._of: dict[str, Holding] = {}

    def put(self, label: str, holding: Holding | None) -> None:
        """Says what the cgroups of a label hold; None: they are not among these any more."""
        before = self._of.pop(label, None)
        if before is not None:
            self._pages.add(before.pages, -1)
            self._memory.add(before.memory, -1)
        if holding is not None:
            self._of[label] = holding
            self._pages.add(holding.pages, 1)
            self._memory.add(holding.memory, 1)

    @property
    def holding(self) -> Holding:
        """What all of them hold."""
        return Holding(self._pages.sums(), self._memory.sums())


class Total(Generic[_Key]):
    """Adds up amounts by key; what nobody has is left out, and is not 0."""

    def __init__(self) -> None:
        self._sums, self._of = Counter[_Key](), Counter[_Key]()

    def add(self, amounts: Mapping[_Key, int], times: int) -> None:
        for key, amount in amounts.items():
            self._sums[key] += times * amount
            self._of[key] += times

    def sums(self) -> dict[_Key, int]:
        return {key: self._sums[key] for key, of in self._of.items() if of}


@functools.lru_cache(maxsize=1 << 14)
def bytes_of(label: str, path: str) -> int:
    """Returns the bytes that the series of one cgroup take at most in the text formats.

    Args:
        label: The value of the label `cgroup`.
        path: The cgroup's path, which tells its pod, container and unit.
    """
    who = names(path)
    return _LINES * (_LINE_BYTES + size(label)) + sum(map(size, (who.pod, who.container, who.unit)))


def _pages(cgroups: Iterable[Cgroup]) -> dict[CgroupState, int]:
    held: dict[CgroupState, int] = {}
    for cgroup in cgroups:
        if cgroup.state is not CgroupState.GONE:
            held[cgroup.state] = held.get(cgroup.state, 0) + cgroup.held_pages
    return held


def _holds(cgroup: Cgroup, page_size: int) -> int:
    """Returns the bytes that the census found, or what was charged since the start where that is more."""
    known = 0 if cgroup.account is None else cgroup.account.explained_bytes
    return max(page_size * cgroup.held_pages, known)


def _memory(cgroups: Iterable[Cgroup]) -> dict[str, int]:
    """Adds up the cgroups' accounts, in bytes by part; a cgroup without an account adds nothing."""
    found: dict[str, int] = defaultdict(int)
    for account in (cgroup.account for cgroup in cgroups):
        if account is None:
            continue
        for part, amount in account.parts.items():
            found[part] += amount
        if account.kernel_bytes is not None and account.unexplained_bytes is not None:
            found["kernel"] += account.kernel_bytes
            found["unexplained"] += account.unexplained_bytes
    return dict(found)
