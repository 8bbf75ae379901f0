"""The live view: `kmemtrace top` in a terminal."""

import dataclasses
import threading
from collections.abc import Callable
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import DataTable, Input, Static

from kmemtrace.errors import KmemtraceError
from kmemtrace.model.rows import SortKey, View, latency_shown, rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.tui import columns, summary
from kmemtrace.tui.detail import SitesScreen
from kmemtrace.tui.help import HelpScreen
from kmemtrace.tui.mismatches import MismatchScreen
from kmemtrace.tui.plain import empty
from kmemtrace.tui.table import RowTable

_HINTS = "Enter sites  s sort  r reverse  / filter  space freeze  t tree  d dead  m mismatches  ? help  q quit"


class TopApp(App[None]):
    """Shows a new Snapshot every `interval` seconds.

    The table stands still while frozen; counting, and the totals above it, go on. A
    KmemtraceError of `source` ends the app and is then in `failure`.
    """

    CSS = """
    Screen { layout: vertical; }
    #summary { height: 3; }
    #table { height: 1fr; }
    #empty { height: 1fr; display: none; padding: 1 0; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    #hints { height: 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter"),
        Binding("space", "freeze", "freeze", priority=False),
        Binding("t", "tree", "tree"),
        Binding("d", "dead", "dead only"),
        Binding("m", "mismatches", "mismatches"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "clear_filter", "clear filter"),
    ]

    latest: reactive[Snapshot | None] = reactive(None, init=False)
    """Counting, always the newest."""
    shown: reactive[Snapshot | None] = reactive(None, init=False)
    """What the table shows: `latest`, but for when it is frozen."""
    frozen: reactive[bool] = reactive(False, init=False)
    view: reactive[View] = reactive(View(), init=False)

    class Fresh(Message):
        """A new Snapshot has come."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    def __init__(self, source: Callable[[], Snapshot], interval: float, view: View) -> None:
        super().__init__(ansi_color=True)
        self._source, self._interval = source, interval
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, name="snapshots")
        self.previous: Snapshot | None = None
        """The one before `shown`, for rates."""
        self._before_latest: Snapshot | None = None
        self.failure: KmemtraceError | None = None
        self.set_reactive(TopApp.view, view)

    def compose(self) -> ComposeResult:
        yield Static("kmemtrace  waiting for the first snapshot ...", id="summary", markup=False)
        yield RowTable(id="table")
        yield Static("", id="empty", markup=False)
        yield Input(placeholder="filter by cgroup, container or call site", id="filter")
        yield Static(_HINTS, id="hints", markup=False)

    def on_mount(self) -> None:
        self.query_one(RowTable).focus()
        self._reader.start()

    def on_unmount(self) -> None:
        self._stop.set()

    def run_to_end(self) -> None:
        """Runs the app; when this returns, nothing reads the source any more.

        Raises the KmemtraceError that ended it.
        """
        try:
            self.run()
        finally:
            self._stop.set()
            if self._reader.ident is not None:
                self._reader.join()
        if self.failure is not None:
            raise self.failure

    def _read(self) -> None:
        """In a thread of its own: one update thread posts messages."""
        while not self._stop.is_set():
            try:
                snapshot = self._source()
            except KmemtraceError as error:
                self.failure = error
                self.call_from_thread(self.exit)
                return
            self.post_message(self.Fresh(snapshot))
            self._stop.wait(self._interval)

    def on_top_app_fresh(self, message: Fresh) -> None:
        self._before_latest, self.latest = self.latest, message.snapshot
        if not self.frozen:
            self.previous, self.shown = self._before_latest, message.snapshot

    def on_resize(self) -> None:
        self._refresh_table()

    def watch_latest(self) -> None:
        self._refresh_summary()

    def watch_shown(self) -> None:
        self._refresh_table()

    def watch_view(self) -> None:
        self._refresh_table()
        self._refresh_summary()

    def watch_frozen(self, frozen: bool) -> None:
        if not frozen:
            self.previous, self.shown = self._before_latest, self.latest
        self._refresh_summary()

    def _refresh_summary(self) -> None:
        if self.latest is None or not self.is_mounted:
            return
        lines = [
            f"{'FROZEN  ' if self.frozen else ''}{summary.title(self.latest)}{self._marks()}",
            summary.totals(self.latest, self._before_latest),
            summary.losses(self.latest),
        ]
        self.screen_stack[0].query_one("#summary", Static).update("\n".join(lines))

    def _marks(self) -> str:
        """What of the view is not as it was at the start."""
        view = self.view
        words = [f"sort {view.sort.value}{' reversed' if view.reverse else ''}"]
        words += [word for word, on in (("tree", view.tree), ("dead only", view.dead_only)) if on]
        words += [f"filter {view.filter!r}"] if view.filter else []
        return "  [" + ", ".join(words) + "]"

    def _refresh_table(self) -> None:
        if self.shown is None or not self.is_mounted:
            return
        screen = self.screen_stack[0]
        found = rows(self.shown, self.previous, self.view)
        table, notice = screen.query_one(RowTable), screen.query_one("#empty", Static)
        table.display, notice.display = bool(found), not found
        notice.update(empty(self.shown, self.view))
        width = self.size.width - table.scrollbar_size_vertical
        chosen = columns.columns(width, self.view.by, latency_shown(self.shown))
        table.show(found, chosen, self.view.sort)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if isinstance(event.data_table, RowTable) and event.row_key.value is not None:
            self.push_screen(SitesScreen(self.view.by, event.row_key.value))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The table's keys mean nothing where another screen lies over it."""
        above = len(self.screen_stack) > 1
        of_table = {"sort", "reverse", "filter", "tree", "dead", "mismatches", "help", "clear_filter"}
        return not (above and action in of_table)

    def action_sort(self) -> None:
        keys = [key for key in SortKey if key in columns.sortable(self.view.by)]
        at = keys.index(self.view.sort) + 1 if self.view.sort in keys else 0
        self.view = dataclasses.replace(self.view, sort=keys[at % len(keys)])

    def action_reverse(self) -> None:
        self.view = dataclasses.replace(self.view, reverse=not self.view.reverse)

    def action_tree(self) -> None:
        self.view = dataclasses.replace(self.view, tree=not self.view.tree)

    def action_dead(self) -> None:
        self.view = dataclasses.replace(self.view, dead_only=not self.view.dead_only)

    def action_freeze(self) -> None:
        self.frozen = not self.frozen

    def action_mismatches(self) -> None:
        self.push_screen(MismatchScreen())

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def action_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.value = self.view.filter
        line.display = True
        line.focus()

    def action_clear_filter(self) -> None:
        self._end_filter("")

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.display:
            self.view = dataclasses.replace(self.view, filter=event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._end_filter(event.value)

    def _end_filter(self, text: str) -> None:
        self.query_one("#filter", Input).display = False
        self.view = dataclasses.replace(self.view, filter=text)
        self.query_one(RowTable).focus()


