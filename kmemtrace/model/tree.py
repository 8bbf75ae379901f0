"""Makes rows of cgroups as the tree that the cgroups are."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.row import Fold, Row, Span
from kmemtrace.model.sums import Sums
from kmemtrace.model.view import Place, View

Ordering = Callable[[Row], tuple[float | str, ...]]


@dataclass(slots=True)
class _Node:
    key: str
    place: Place
    own: Sums
    before: Sums | None
    is_wanted: bool
    children: list["_Node"] = field(default_factory=list)
    total: Sums | None = None
    """Sums with what is wanted below it; None for a leaf."""
    total_before: Sums | None = None
    below: int = 0
    """How many nodes are below it."""

    def row(self, span: Span) -> Row:
        """Makes its row, with what is below it."""
        sums, before = self.total or self.own, self.total_before or self.before
        return Row(self.key, sums, before, span, self.own, in_tree=True)


def tree(
    current: Mapping[str, Sums],
    before: Mapping[str, Sums],
    wanted: Mapping[str, bool],
    span: Span,
    view: View,
    ordering: Ordering,
) -> list[Row]:
    """Makes rows from the roots down, as far as `view` has parents open.

    Every ancestor of a row is there, one that was never charged too. A closed parent shows the sum of what it
    hides and its own; siblings are ordered by such sums, so that none moves when it is opened.

    Args:
        current: Sums of cgroups, by key.
        before: Sums at the beginning of the span, by key.
        wanted: By key, whether the view wants it.
        span: What is the same for all rows.
        view: How the table is wanted.
        ordering: Returns what rows are ordered by.
    """
    nodes = _nodes(current, before, wanted)
    _link(nodes)
    roots = [node for node in nodes.values() if node.place.parent is None]
    extra = _namesakes(current, before, wanted, nodes)
    for node in extra:
        parent = node.place.parent
        (roots if parent is None else nodes[parent].children).append(node)
    _add_up([*nodes.values(), *extra])
    return _walk(roots, span, view, ordering)


def _nodes(
    current: Mapping[str, Sums], before: Mapping[str, Sums], wanted: Mapping[str, bool]
) -> dict[Place, _Node]:
    """Returns what is wanted, and all above it.

    Of cgroups that had the same path one after the other, the living one is the parent of what is below.
    """
    known: dict[Place, str] = {}
    for key, one in current.items():
        place = one.place
        if place not in known or one.state is CgroupState.ONLINE:
            known[place] = key
    nodes: dict[Place, _Node] = {}
    for key, one in current.items():
        at: Place | None = one.place if wanted[key] else None
        while at is not None and at not in nodes:
            named = known.get(at)
            own = Sums(at.path, host=at.host) if named is None else current[named]
            nodes[at] = _Node(
                named or f"{at.host or ''}:{at.path}",
                at,
                own,
                None if named is None else before.get(named),
                named is not None and wanted[named],
            )
            at = at.parent
    return nodes


def _link(nodes: Mapping[Place, _Node]) -> None:
    for place, node in nodes.items():
        parent = place.parent
        if parent is not None:
            nodes[parent].children.append(node)


def _namesakes(
    current: Mapping[str, Sums],
    before: Mapping[str, Sums],
    wanted: Mapping[str, bool],
    nodes: Mapping[Place, _Node],
) -> list[_Node]:
    """Returns the removed cgroups whose path another one has."""
    return [
        _Node(key, one.place, one, before.get(key), is_wanted=True)
        for key, one in current.items()
        if wanted[key] and nodes[one.place].key != key
    ]


def _add_up(nodes: list[_Node]) -> None:
    """Adds children up before their parents, without calls: cgroups may be nested deeper than those."""
    nodes.sort(key=lambda node: node.place.depth, reverse=True)
    for node in nodes:
        if not node.children:
            continue
        node.total = Sums(node.own.name, node.own.label, node.own.host)
        node.total_before = Sums(node.own.name)
        if node.is_wanted:
            node.total.add_below(node.own)
            if node.before is not None:
                node.total_before.add_below(node.before)
        for child in node.children:
            node.below += 1 + child.below
            node.total.add_below(child.total or child.own)
            earlier = child.total_before or child.before
            if earlier is not None:
                node.total_before.add_below(earlier)


def _walk(roots: list[_Node], span: Span, view: View, ordering: Ordering) -> list[Row]:
    def ordered(nodes: Iterable[_Node]) -> list[tuple[_Node, Row]]:
        """Returns nodes and their rows, the last first, as the stack below wants them."""
        found = [(node, node.row(span)) for node in nodes]
        found.sort(key=lambda one: ordering(one[1]), reverse=view.reverse)
        return found[::-1]

    table: list[Row] = []
    waiting = [(node, row, 0) for node, row in ordered(roots)]
    while waiting:
        node, row, depth = waiting.pop()
        if not node.children:
            table.append(dataclasses.replace(row, depth=depth))
            continue
        is_open = view.is_open(node.place)
        row = dataclasses.replace(row, depth=depth, is_context=not node.is_wanted)
        if is_open:
            row = dataclasses.replace(row, fold=Fold.OPEN, sums=node.own, before=node.before)
            waiting += [(n, r, depth + 1) for n, r in ordered(node.children)]
        else:
            row = dataclasses.replace(row, fold=Fold.CLOSED, hidden=node.below)
        table.append(row)
    return table


def opened_to_fit(all_open: list[Row], room: int) -> frozenset[Place]:
    """Returns the parents to open at first, given a tree with all of them open.

    They are opened level by level, those that come first before others, as long as there are no more than
    `room` rows.
    """
    opened: set[Place] = set()
    children: dict[Place, int] = defaultdict(int)
    for row in all_open:
        if row.depth and (parent := row.place.parent) is not None:
            children[parent] += 1
    shown = sum(row.depth == 0 for row in all_open)
    for row in sorted((r for r in all_open if r.fold is not Fold.LEAF), key=lambda r: r.depth):
        parent = row.place.parent
        if parent is not None and parent not in opened:
            continue
        if row.depth == 0 or shown + children[row.place] <= room:
            opened.add(row.place)
            shown += children[row.place]
    return frozenset(opened)
