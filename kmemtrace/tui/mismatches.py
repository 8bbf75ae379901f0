"""The mismatch screen: what broke the promise, or which classes are not judged."""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from kmemtrace.model.snapshot import Mismatch, Snapshot
from kmemtrace.tui import text

if TYPE_CHECKING:
    from kmemtrace.tui.app import TopApp


class MismatchScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,backspace,m", "app.pop_screen", "back")]

    app: "TopApp"

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static("", id="found", markup=False))
        yield Static("Escape back  q quit", id="hints", markup=False)

    def on_mount(self) -> None:
        self.watch(self.app, "shown", self._show)

    def _show(self) -> None:
        snapshot = self.app.shown
        if snapshot is not None:
            self.query_one("#found", Static).update("mismatches\n\n" + _text(snapshot))


def _text(snapshot: Snapshot) -> str:
    if "mismatches" in snapshot.unseen:
        return f"Not judged: {snapshot.unseen['mismatches']}."
    return "\n\n".join(map(_one, snapshot.mismatches)) or "None was found."


def _one(mismatch: Mismatch) -> str:
    lines = [
        f"{mismatch.mismatch_class} ({mismatch.confidence})  page {mismatch.page:#x}  order {mismatch.order}",
        f"  charged to {mismatch.charged_to}, uncharged from {mismatch.uncharged_from}",
        f"  by {mismatch.comm} ({mismatch.pid})",
        *(f"    alloc {frame}" for frame in mismatch.alloc_stack),
        *(f"    free  {frame}" for frame in mismatch.free_stack),
    ]
    return "\n".join(map(text.printable, lines))
