"""Shows what broke the promise: a line each, then the evidence.

What only looks like it, and what is not judged, is told too.
"""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Static

from kmemtrace import text
from kmemtrace.model.enums import MismatchClass
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.report.mismatch import lines
from kmemtrace.tui.hints import keys
from kmemtrace.tui.shown import BACK, Following, Shown
from kmemtrace.tui.stack import Page

_WIDTHS = {"CLASS": 16, "SURE": 8, "TIMES": 7, "LAST": 8}


class _Table(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]


class MismatchScreen(Following):
    """Follows the counting; the cursor stays on its mismatch."""

    CSS = """
    #mismatches { height: auto; max-height: 60%; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #mismatches > .datatable--header { color: ansi_default; background: ansi_default; }
    #mismatches > .datatable--cursor {
        color: ansi_default; background: ansi_default; text-style: reverse;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("m", "app.pop_screen", "back")]

    def __init__(self, shown: Shown | None) -> None:
        super().__init__(shown)
        self._listed: tuple[Mismatch, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static("mismatches\n", id="title", markup=False)
        yield _Table(id="mismatches", cursor_type="row", cell_padding=0)
        yield Page(Static("", id="found", markup=False))
        yield Static("", id="hints", markup=False)

    def redraw(self) -> None:
        if self.shown is None:
            return
        snapshot = self.shown.snapshot
        table = self.query_one("#mismatches", DataTable)
        place = table.cursor_row
        before = self._listed[place].kind if place < len(self._listed) else None
        self._listed = snapshot.mismatches
        table.display = bool(self._listed)
        cgroup = max(10, self.size.width - 1 - sum(_WIDTHS.values()))
        with self.app.batch_update():
            table.clear(columns=True)
            for heading, width in {**_WIDTHS, "CGROUP": cgroup}.items():
                table.add_column(Text(heading, "bold"), width=width)
            for mismatch in self._listed:
                table.add_row(*map(Text, _cells(mismatch, snapshot.time, cgroup)))
            places = [mismatch.kind for mismatch in self._listed]
            table.move_cursor(row=places.index(before) if before in places else place, animate=False)
        self.query_one("#found", Static).update(_rest(snapshot))
        enter = "Enter evidence  " if self._listed else ""
        self.query_one("#hints", Static).update(keys(f"{enter}Escape back  q quit"))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.cursor_row < len(self._listed):
            self.app.push_screen(EvidenceScreen(self._listed[event.cursor_row]))


class EvidenceScreen(Screen[None]):
    """Shows all that is known of one mismatch."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK]

    def __init__(self, mismatch: Mismatch) -> None:
        super().__init__()
        self._mismatch = mismatch

    def compose(self) -> ComposeResult:
        told = "\n".join(lines(self._mismatch))
        yield Page(Static(told, markup=False))
        yield Static(keys("Escape back  q quit"), id="hints", markup=False)


def _cells(mismatch: Mismatch, now: float, width: int) -> tuple[str, ...]:
    cgroup = mismatch.charged_to or mismatch.uncharged_from or "(unknown)"
    return (
        mismatch.mismatch_class,
        mismatch.confidence,
        f"{mismatch.count:,}",
        text.duration(max(0.0, now - mismatch.time)),
        text.shortened(cgroup, width),
    )


def _rest(snapshot: Snapshot) -> str:
    nothing = "" if snapshot.mismatches else "None was found."
    return "\n\n".join(filter(None, [nothing, _exempt(snapshot), _unjudged(snapshot)]))


def _exempt(snapshot: Snapshot) -> str:
    if not snapshot.exempt:
        return ""
    counts = "\n".join(f"  {n:>11,}  {name}" for name, n in snapshot.exempt.items())
    return f"Legal, though they look like one:\n{counts}"


def _unjudged(snapshot: Snapshot) -> str:
    reasons: dict[str, list[str]] = {}
    for one in MismatchClass:
        if Unseen(one) in snapshot.unseen:
            reasons.setdefault(snapshot.unseen[Unseen(one)], []).append(one)
    missing = [f"  {', '.join(names)}:\n    {why}" for why, names in reasons.items()]
    since = [
        f"{one} is judged from {seconds:.1f} s after the start on."
        for one, seconds in snapshot.unjudged_seconds.items()
        if Unseen(one) not in snapshot.unseen
    ]
    return "\n".join([*(["Not judged here:", *missing] if missing else []), *since])
