"""Shows the table of rows: columns, colours, the tree's folds, and the heading to sort by."""

from collections.abc import Iterable
from itertools import chain
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from kmemtrace.model.row import Fold, Row
from kmemtrace.model.tables import Table
from kmemtrace.model.view import Place, SortKey
from kmemtrace.tui import columns, style
from kmemtrace.tui.cells import Piece, cell
from kmemtrace.tui.columns import Fitted
from kmemtrace.tui.listing import Listing

_GAP: Piece = (" ", style.PLAIN)


class RowTable(Listing):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "open", "open", show=False),
        Binding("left,h", "close", "close", show=False),
    ]

    class Folded(Message):
        """Says that the user opens or closes a parent in the tree."""

        def __init__(self, place: Place, *, opened: bool) -> None:
            super().__init__()
            self.place, self.opened = place, opened

    class SortChosen(Message):
        """Says that the user clicked on a heading."""

        def __init__(self, sort: SortKey) -> None:
            super().__init__()
            self.sort = sort

    def __init__(self, id: str) -> None:  # noqa: A002 Textual's word
        super().__init__(id)
        self.rows = Table((), list[Row]().__getitem__)
        """The rows that the table shows."""
        self._columns: list[Fitted] = []

    @property
    def sorts(self) -> list[SortKey]:
        """What the columns on the screen can be sorted by, from left to right."""
        return [one.column.sort for one in self._columns if one.column.sort is not None]

    @property
    def row(self) -> Row | None:
        """The row that the cursor is on."""
        return self.rows[self._cursor] if self._cursor < len(self.rows) else None

    def show_rows(self, found: Table, chosen: list[Fitted], sort: SortKey) -> None:
        self.rows, self._columns = found, chosen
        styles = [style.SORTED if one.column.sort is sort else style.HEADING for one in chosen]
        heading = zip(columns.headings(chosen), styles, strict=True)
        self.show(found.keys, _spaced([piece] for piece in heading), self._cells)

    def _cells(self, at: int) -> list[Piece]:
        row = self.rows[at]
        return _spaced(cell(row, one.column, one.width) for one in self._columns)

    def on_listing_heading_clicked(self, event: Listing.HeadingClicked) -> None:
        event.stop()
        clicked = columns.at(self._columns, event.x)
        if clicked is not None and clicked.column.sort is not None:
            self.post_message(self.SortChosen(clicked.column.sort))

    def action_open(self) -> None:
        """Opens a parent; in an open one it goes to its first child."""
        if self.row is None or self.row.fold is Fold.LEAF:
            return
        if self.row.fold is Fold.OPEN:
            self.action_move(1)
        else:
            self._fold(self.row, opened=True)

    def action_close(self) -> None:
        """Closes a parent; elsewhere it goes to the parent."""
        if self.row is None:
            return
        if self.row.fold is Fold.OPEN:
            self._fold(self.row, opened=False)
        elif self.row.depth:
            above = (at for at in range(self._cursor, -1, -1) if self.rows[at].depth < self.row.depth)
            self.action_move(next(above) - self._cursor)

    def _fold(self, row: Row, *, opened: bool) -> None:
        self._moved = True
        self.post_message(self.Folded(row.place, opened=opened))


def _spaced(cells: Iterable[Iterable[Piece]]) -> list[Piece]:
    return list(chain.from_iterable((*one, _GAP) for one in cells))[:-1]
