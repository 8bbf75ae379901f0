"""The table of rows: keeps the cursor on its row while rows come, go and change places.

Textual's DataTable measures every cell anew at each update, a quarter of a second for 400 rows.
This one makes the lines that are on the screen and no others, however many rows there are.
"""

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.rows import Row, SortKey
from kmemtrace.tui import columns
from kmemtrace.tui.columns import Column

_HEADING, _SORTED = Style(bold=True), Style(bold=True, reverse=True)
_LIVING, _DEAD = Style(), Style(dim=True)
_SELECTED = Style(reverse=True)


class RowTable(ScrollView, can_focus=True):
    """A heading that stays in place, and rows to move over."""

    DEFAULT_CSS = """
    RowTable { scrollbar-size-vertical: 1; scrollbar-gutter: stable; overflow-x: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "first", "first", show=False),
        Binding("end", "last", "last", show=False),
        Binding("enter", "choose", "choose", show=False),
    ]

    class Chosen(Message):
        """The user wants to see what is behind a row."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, id: str) -> None:  # noqa: A002 Textual's word
        super().__init__(id=id)
        self._rows: list[Row] = []
        self._columns: list[Column] = []
        self._sort = SortKey.HELD
        self._cursor = 0
        self._moved = False
        """Until the user moves it, the cursor marks the first row, whichever that is."""

    @property
    def selected(self) -> str | None:
        """Key of the row that the cursor is on."""
        return self._rows[self._cursor].key if self._cursor < len(self._rows) else None

    @property
    def row_width(self) -> int:
        """Characters that a row can have."""
        return self.size.width - self.scrollbar_size_vertical

    def show(self, found: list[Row], chosen: list[Column], sort: SortKey) -> None:
        """Replaces what is shown. The cursor stays on its row's key; when that is gone, at its
        place. Where it could be seen, it still can."""
        key, seen = self.selected, self._is_seen(self._cursor)
        self._rows, self._columns, self._sort = found, chosen, sort
        self.virtual_size = Size(self.row_width, len(found) + 1)
        if self._moved:
            places = {row.key: at for at, row in enumerate(found)}
            self._cursor = places.get(key or "", self._cursor)
        self._move_to(self._cursor, follow=seen)

    def render_line(self, y: int) -> Strip:
        """Textual asks for line `y` of the widget; the first is the heading."""
        width = self.row_width
        if y == 0:
            return self._heading().adjust_cell_length(width)
        at = y - 1 + round(self.scroll_y)
        if at >= len(self._rows):
            return Strip.blank(width)
        return self._row(at).adjust_cell_length(width)

    def _heading(self) -> Strip:
        styles = [_SORTED if column.sort is self._sort else _HEADING for column in self._columns]
        cells = zip(columns.headings(self._columns), styles, strict=True)
        gap = Segment(" ")
        return Strip([part for cell, style in cells for part in (Segment(cell, style), gap)])

    def _row(self, at: int) -> Strip:
        row = self._rows[at]
        style = _DEAD if row.state is CgroupState.DEAD else _LIVING
        if at == self._cursor:
            style = _SELECTED
        gap = Strip([Segment(" ", style)])
        parts: list[Strip] = []
        for column, cell in zip(self._columns, columns.line(row, self._columns), strict=True):
            # A name may hold characters that take two columns.
            parts += [Strip([Segment(cell, style)]).adjust_cell_length(column.width, style), gap]
        return Strip.join(parts[:-1])

    def _page(self) -> int:
        """Rows that are on the screen."""
        return max(1, self.size.height - 1)

    def _is_seen(self, at: int) -> bool:
        top = round(self.scroll_y)
        return top <= at < top + self._page()

    def _move_to(self, at: int, *, follow: bool = True) -> None:
        self._cursor = max(0, min(at, len(self._rows) - 1))
        top = round(self.scroll_y)
        if follow and not self._is_seen(self._cursor):
            below = self._cursor >= top
            wanted = self._cursor - self._page() + 1 if below else self._cursor
            self.scroll_to(y=wanted, animate=False, force=True, immediate=True)
        self.refresh()

    def action_move(self, by: int) -> None:
        self._moved = True
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * self._page())

    def action_first(self) -> None:
        self._moved = False
        self._move_to(0)

    def action_last(self) -> None:
        self._moved = True
        self._move_to(len(self._rows) - 1)

    def action_choose(self) -> None:
        if self.selected is not None:
            self.post_message(self.Chosen(self.selected))

    def on_click(self, event: events.Click) -> None:
        """The first click moves the cursor to a row, one on the cursor's row chooses it."""
        at = event.y - 1 + round(self.scroll_y)
        if event.y == 0 or at >= len(self._rows):
            return
        if at == self._cursor:
            self.action_choose()
        self._moved = True
        self._move_to(at)
