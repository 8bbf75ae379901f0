"""Tells what is behind one row: its functions, and the stacks below each."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from kmemtrace.model.row import Row
from kmemtrace.model.snapshot import Site
from kmemtrace.model.sums import Sums

_By = tuple[str, str, tuple[str, ...], str]
"""What pages are added up by: kind, function, stack, and the cgroup where it matters."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One allocation stack, wherever in the row it was seen."""

    stack: tuple[str, ...]
    """Its frames, the innermost first; empty when it was not recorded."""
    held_pages: int
    charged_pages: int
    cgroups: tuple[tuple[str, int], ...]
    """(path, held pages) of its cgroups, most held first."""


@dataclass(frozen=True, slots=True)
class Function:
    """The first function outside the allocator of some stacks: what asked for the pages."""

    kind: str
    symbol: str
    held_pages: int
    charged_pages: int
    stacks: tuple[Stack, ...]
    """Its stacks, most held first."""


@dataclass(slots=True)
class _Pages:
    held: int = 0
    charged: int = 0
    cgroups: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def functions(row: Row) -> tuple[Function, ...]:
    """Returns the functions behind a row, those that hold most first.

    Where the row is of call sites, a stack is told by cgroup: whose it is is the question then. What was
    charged is since the baseline, if the row has one.
    """
    stacks = _stacks(row.sums)
    if row.span.from_baseline and row.before is not None:
        for by, pages in _stacks(row.before).items():
            if by in stacks:
                stacks[by].charged -= pages.charged
    found: dict[tuple[str, str], list[Stack]] = defaultdict(list)
    for (kind, symbol, stack, _), pages in stacks.items():
        cgroups = tuple(sorted(pages.cgroups.items(), key=lambda one: (-one[1], one[0])))
        found[kind, symbol].append(Stack(stack, pages.held, pages.charged, cgroups))
    made = [_function(kind, symbol, below) for (kind, symbol), below in found.items()]
    made.sort(key=lambda f: (-f.held_pages, -f.charged_pages, f.symbol))
    return tuple(made)


def _function(kind: str, symbol: str, stacks: list[Stack]) -> Function:
    stacks.sort(key=lambda s: (-s.held_pages, -s.charged_pages, s.stack))
    held, charged = sum(s.held_pages for s in stacks), sum(s.charged_pages for s in stacks)
    return Function(kind, symbol, held, charged, tuple(stacks))


def _stacks(sums: Sums) -> Mapping[_By, _Pages]:
    found: dict[_By, _Pages] = defaultdict(_Pages)
    for cgroup, site in sums.all_sites():
        pages = found[_by(site, "" if sums.has_cgroups else cgroup.path)]
        pages.held += site.held_pages
        pages.charged += site.charged_pages
        pages.cgroups[cgroup.path] += site.held_pages
    return found


def _by(site: Site, path: str) -> _By:
    return site.kind.value, site.symbol, site.stack, path
