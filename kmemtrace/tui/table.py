"""The table of rows: keeps the cursor on its row while rows come, go and change places."""

from rich.text import Text
from textual.widgets import DataTable

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.rows import Row, SortKey
from kmemtrace.tui import columns
from kmemtrace.tui.columns import Column

_MOST_ROWS = 400
"""More than anyone scrolls through; the filter finds the others. An update of so many takes 50 ms."""


class RowTable(DataTable[Text]):
    """Cells are Text, never markup: a cgroup's name is its maker's choice."""

    def __init__(self, id: str) -> None:  # noqa: A002 Textual's word
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=0)

    def show(self, found: list[Row], chosen: list[Column], sort: SortKey) -> None:
        """Replaces what is shown. The cursor stays on its row's key; when that is gone, at its
        place."""
        key, place, scroll = self._cursor_key(), self.cursor_row, self.scroll_y
        visible = found[:_MOST_ROWS]
        with self.app.batch_update():
            self.clear(columns=True)
            for column, heading in zip(chosen, columns.headings(chosen), strict=True):
                style = "bold reverse" if column.sort is sort else "bold"
                self.add_column(Text(f"{heading} ", style), width=column.width + 1)
            for row in visible:
                style = "dim" if row.state is CgroupState.DEAD else ""
                cells = [Text(f"{cell} ", style) for cell in columns.line(row, chosen)]
                self.add_row(*cells, key=row.key)
            keys = [row.key for row in visible]
            at = keys.index(key) if key in keys else min(place, len(keys) - 1)
            self.move_cursor(row=max(0, at), animate=False, scroll=False)
            self.scroll_to(y=scroll, animate=False, force=True)

    def _cursor_key(self) -> str | None:
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
