"""Shows one allocation stack, and whose pages were asked for by it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from kmemtrace import text
from kmemtrace.model.detail import Function, Stack
from kmemtrace.model.snapshot import FROM_BEFORE
from kmemtrace.printable import printable
from kmemtrace.tui.hints import keys
from kmemtrace.tui.shown import BACK

_MOST_CGROUPS = 50
_SCROLL: list[BindingType] = [Binding("j", "scroll_down", show=False), Binding("k", "scroll_up", show=False)]


class Page(VerticalScroll):
    """Shows text to scroll in, by arrows or as in vi."""

    BINDINGS: ClassVar[list[BindingType]] = [*_SCROLL]


class StackScreen(Screen[None]):
    """Shows a stack, its innermost frame first."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK]

    def __init__(self, function: Function, stack: Stack, page_size: int) -> None:
        super().__init__()
        self._function, self._stack, self._page_size = function, stack, page_size

    def compose(self) -> ComposeResult:
        function, stack = self._function, self._stack
        frames = [f"  {printable(frame)}" for frame in stack.stack]
        nothing = ["The stack was not recorded: the stack table had no room for it."]
        if function.symbol == FROM_BEFORE:
            nothing = ["It was charged before the start, and nothing tells any more who asked for it."]
        head = [f"{printable(function.symbol)}  {text.kind_told(function.kind, function.symbol)}", ""]
        yield Page(Static("\n".join([*head, *(frames or nothing), "", *self._cgroups()]), markup=False))
        yield Static(keys("Escape back  q quit"), id="hints", markup=False)

    def _cgroups(self) -> list[str]:
        """Returns lines of the cgroups that hold most of the stack's pages."""
        cgroups = self._stack.cgroups
        lines = [
            f"  {text.size(pages * self._page_size):>6}  {printable(path)}"
            for path, pages in cgroups[:_MOST_CGROUPS]
        ]
        rest = len(cgroups) - _MOST_CGROUPS
        return ["Held in", *lines, *([f"  ... and {rest:,} more"] if rest > 0 else [])]
