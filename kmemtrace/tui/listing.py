"""Shows a heading that stays in place, and lines to move over; what they say is its owner's.

Textual's DataTable measures every cell anew at each update, a quarter of a second for 400 rows. This one
makes the lines that are on the screen and no others, however many there are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kmemtrace.tui import style
from kmemtrace.tui.cells import Piece

Line = Iterable[Piece]


class Listing(ScrollView, can_focus=True):
    """Keeps the cursor on its line while lines come, go and change places."""

    DEFAULT_CSS = """
    Listing {
        scrollbar-size-vertical: 1; scrollbar-gutter: stable; overflow-x: hidden;
        scrollbar-color: ansi_bright_black; scrollbar-background: ansi_default;
        scrollbar-color-hover: ansi_bright_black; scrollbar-background-hover: ansi_default;
        scrollbar-color-active: ansi_bright_black; scrollbar-background-active: ansi_default;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "first", "first", show=False),
        Binding("end", "last", "last", show=False),
        Binding("enter", "choose", "choose", show=False),
    ]

    class Chosen(Message):
        """Says that the user wants to see what is behind a line."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class HeadingClicked(Message):
        def __init__(self, x: int) -> None:
            super().__init__()
            self.x = x

    def __init__(self, id: str) -> None:  # noqa: A002 Textual's word
        super().__init__(id=id)
        self._keys: Sequence[str] = ()
        self._heading: Line = ()
        self._line: Callable[[int], Line] = lambda _: ()
        self._cursor = 0
        self._moved = False
        """Whether the user has moved the cursor: until then it marks the first line, whichever that is."""

    @property
    def selected(self) -> str | None:
        """The key of the line that the cursor is on."""
        return self._keys[self._cursor] if self._cursor < len(self._keys) else None

    @property
    def row_width(self) -> int:
        """Columns of the screen that a line can have."""
        return self.size.width - self.scrollbar_size_vertical

    @property
    def page(self) -> int:
        """How many lines are on the screen."""
        return max(1, self.size.height - 1)

    def show(self, keys: Sequence[str], heading: Line, line: Callable[[int], Line]) -> None:
        """Replaces what is shown.

        The cursor stays on its line's key; when that is gone, at its place. Where it could be seen, it still
        can.

        Args:
            keys: The lines' keys, in their order.
            heading: The heading.
            line: Makes the line of a place in `keys` when it is to be seen.
        """
        key, seen = self.selected, self._is_seen(self._cursor)
        self._keys, self._heading, self._line = keys, heading, line
        self.virtual_size = Size(self.row_width, len(keys) + 1)
        if self._moved and key is not None and self.selected != key and key in keys:
            self._cursor = keys.index(key)
        self._move_to(self._cursor, follow=seen)

    def move_to(self, key: str) -> None:
        """Puts the cursor on a line, if it is there."""
        if key in self._keys:
            self._moved = True
            self._move_to(self._keys.index(key))

    def render_line(self, y: int) -> Strip:
        """Makes line `y` of the widget when Textual asks for it; the first is the heading."""
        at = y - 1 + round(self.scroll_y)
        if y and at >= len(self._keys):
            return Strip.blank(self.row_width)
        pieces = self._line(at) if y else self._heading
        # A cursor in many colours would be none.
        chosen = style.SELECTED if y and at == self._cursor else None
        strip = Strip([Segment(words, chosen or how) for words, how in pieces if words])
        return strip.adjust_cell_length(self.row_width, chosen)

    def _is_seen(self, at: int) -> bool:
        top = round(self.scroll_y)
        return top <= at < top + self.page

    def _move_to(self, at: int, *, follow: bool = True) -> None:
        self._cursor = max(0, min(at, len(self._keys) - 1))
        top = round(self.scroll_y)
        if follow and not self._is_seen(self._cursor):
            below = self._cursor >= top
            wanted = self._cursor - self.page + 1 if below else self._cursor
            self.scroll_to(y=wanted, animate=False, force=True, immediate=True)
        self.refresh()

    def action_move(self, by: int) -> None:
        self._moved = True
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * self.page)

    def action_first(self) -> None:
        self._moved = False
        self._move_to(0)

    def action_last(self) -> None:
        self._moved = True
        self._move_to(len(self._keys) - 1)

    def action_choose(self) -> None:
        if self.selected is not None:
            self.post_message(self.Chosen(self.selected))

    def on_click(self, event: events.Click) -> None:
        """Moves the cursor to a line by the first click, and chooses the cursor's line by another."""
        if event.y == 0:
            self.post_message(self.HeadingClicked(event.x))
            return
        at = event.y - 1 + round(self.scroll_y)
        if at >= len(self._keys):
            return
        if at == self._cursor:
            self.action_choose()
        self._moved = True
        self._move_to(at)
