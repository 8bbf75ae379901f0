"""Makes one cell of the table: its words, and the colours that say what they mean."""

from collections.abc import Callable
from typing import cast

from rich.style import Style

from kmemtrace import text
from kmemtrace.cgroups.labels import label
from kmemtrace.model.columns import Column, Unit, Value
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.row import Fold, Row
from kmemtrace.model.view import SortKey
from kmemtrace.tui import style

Piece = tuple[str, Style]
_MARKS = {Fold.LEAF: "  ", Fold.OPEN: "▾ ", Fold.CLOSED: "▸ "}
_INDENT = 2


def cell(row: Row, column: Column, width: int) -> list[Piece]:
    """Makes a row's cell of a column, exactly as wide as `width`."""
    if column.unit is Unit.NAME:
        return _filled(_name(row, width), width)
    if column.unit is Unit.STATE:
        return _filled(_state(row), width)
    if column.unit is Unit.SITE:
        return _filled(_site(row, width), width)
    value = column.value(row)
    if column.unit is Unit.HOST:
        return _filled([(text.shortened(str(value or ""), width), style.PLAIN)], width)
    words = text.cut(_TEXTS[column.unit](value), width)
    return [(text.padded(words, width, left=False), _style(row, column, value))]


def _filled(pieces: list[Piece], width: int) -> list[Piece]:
    """Fills up with blanks at the end; what is too wide is cut off."""
    filled: list[Piece] = []
    for words, how in pieces:
        filled.append((text.cut(words, width), how))
        width -= text.width(filled[-1][0])
    return [*filled, (" " * width, style.PLAIN)]


_TEXTS: dict[Unit, Callable[[Value], str]] = {
    Unit.BYTES: lambda value: text.NOTHING if value is None else text.size(cast("int", value)),
    Unit.CHANGE: lambda value: text.change(cast("int", value)),
    Unit.COUNT: lambda value: text.NOTHING if value is None else text.count(cast("int", value)),
    Unit.RATE: lambda value: text.rate(cast("float | None", value)),
    Unit.DURATION: lambda value: text.duration(cast("float | None", value)),
}


def _style(row: Row, column: Column, value: Value) -> Style:
    if not value:
        return style.FAINT
    if column.unit is Unit.CHANGE:
        return style.GROWING if cast("int", value) > 0 else style.SHRINKING
    if column.sort is SortKey.MISMATCH:
        return style.BROKEN
    if column.sort is SortKey.FAIL:
        return style.FAILED
    if column.sort is SortKey.HELD:
        return style.DEAD if row.state is CgroupState.DEAD else style.STRONG
    return style.PLAIN


def _state(row: Row) -> list[Piece]:
    if row.state is CgroupState.DEAD:
        return [(row.state.value, style.DEAD)]
    if row.dead_cgroups:
        gap = " " if row.dead_cgroups < 10 else ""
        return [(f"{row.dead_cgroups}{gap}dead", style.DEAD)]
    return [(text.NOTHING if row.state is None else row.state.value, style.FAINT)]


def _name(row: Row, width: int) -> list[Piece]:
    own = style.DEAD if row.state is CgroupState.DEAD else style.PLAIN
    own = style.FAINT if row.is_context and row.fold is not Fold.CLOSED else own
    if row.in_tree:
        return _name_in_tree(row, width, own)
    if row.label is not None and text.width(row.name) > width and not row.name.endswith(row.label):
        return [(_short(row.label, width), own)]
    above, slash, last = _path(row.name, width).rpartition("/")
    return [(above + slash, style.FAINT), (last, own)] if last else [(above + slash, own)]


def _path(path: str, width: int) -> str:
    """Leaves out the first folders of a path, as many as it takes: "…/app.slice/build.scope"."""
    rest = path
    while text.width(path) > width and (at := rest.find("/", 1)) > 0:
        rest = rest[at:]
        if text.width(rest) < width:
            return text.shortened(f"…{rest}", width)
    return text.shortened(path, width)


def _short(name: str, width: int) -> str:
    """Shortens a label to e.g. "pod 8a7f2c31 4f2a9c1b03de".

    The id of a container tells more than who runs it.
    """
    words = name.split()
    if text.width(name) > width and len(words) in (2, 4) and words[-2] != "pod":
        del words[-2]
    return text.shortened(" ".join(words), width)


def _name_in_tree(row: Row, width: int, own: Style) -> list[Piece]:
    """Indents a name by its depth; deep down the indentation gives way to the name."""
    indent = min(_INDENT * row.depth, width // 2) * " "
    hidden = f" ({row.hidden})" if row.hidden else ""
    room = max(1, width - len(indent) - 2 - len(hidden))
    name = row.name.rpartition("/")[2] or row.name
    if text.width(name) > room:
        name = _short(_label_in_tree(row), room) or _in_slice(row, name)
    return [
        (indent, style.PLAIN),
        (_MARKS[row.fold], style.STRONG),
        (text.shortened(name, room), own),
        (hidden, style.FAINT),
    ]


def _in_slice(row: Row, name: str) -> str:
    """Leaves out what systemd repeats of a slice's name in those below it.

    An example is "kubepods-burstable.slice" in kubepods.slice.
    """
    above = row.place.parent
    return (
        name
        if above is None
        else name.removeprefix(above.path.rpartition("/")[2].removesuffix(".slice") + "-")
    )


def _label_in_tree(row: Row) -> str:
    """Returns the label without what is above it in the tree already."""
    above = row.place.parent
    said = "" if above is None else label(above.path) or ""
    return (label(row.name) or "").removeprefix(said).strip()


def _site(row: Row, width: int) -> list[Piece]:
    kind, symbol = row.top_site
    if not symbol:
        return [(text.NOTHING, style.FAINT)]
    told = text.kind_told(kind, symbol)
    if not told or text.width(symbol) + 1 + len(told) > width:
        return [(text.cut(symbol, width), style.PLAIN)]
    return [(symbol, style.PLAIN), (f" {told}", style.FAINT)]
