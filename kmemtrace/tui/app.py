"""The live view: `kmemtrace top` in a terminal."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from kmemtrace.model.rows import SortKey, View, latency_shown, rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.tui import columns, summary, text
from kmemtrace.tui.detail import SitesScreen
from kmemtrace.tui.help import HelpScreen
from kmemtrace.tui.hints import TYPING, hints
from kmemtrace.tui.mismatches import MismatchScreen
from kmemtrace.tui.plain import empty
from kmemtrace.tui.signals import ending
from kmemtrace.tui.table import RowTable

_Widget = TypeVar("_Widget", bound=Widget)

_LOST = "bold yellow"
_FROZEN = "bold reverse"


class TopApp(App[None]):
    """Shows a new Snapshot every `interval` seconds.

    The table stands still while frozen; counting, and the totals above it, go on. An error of
    `source` ends the app and is then in `failure`.
    """

    CSS = """
    Screen { layout: vertical; }
    #summary { height: 3; text-wrap: nowrap; text-overflow: ellipsis; }
    #table { height: 1fr; }
    #empty { height: 1fr; display: none; padding: 1 0; }
    #prompt { height: 1; display: none; }
    #slash { width: 10; text-style: bold reverse; }
    #filter { width: 1fr; height: 1; border: none; padding: 0 1; }
    #hints { height: 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        # Textual would copy, which nobody expects here.
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
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

    class Failed(Message):
        """There will be no further Snapshot."""

    def __init__(
        self,
        source: Callable[[], Snapshot],
        interval: float,
        view: View,
        duration: float | None = None,
    ) -> None:
        """With a `duration` it ends after so many seconds."""
        super().__init__(ansi_color=True)
        self._source, self._interval, self._duration = source, interval, duration
        self._stop, self._taken = threading.Event(), threading.Event()
        self._reader = threading.Thread(target=self._read, name="snapshots")
        self.previous: Snapshot | None = None
        """The one before `shown`, for rates."""
        self._before_latest: Snapshot | None = None
        self.failure: Exception | None = None
        self._loop_of_app: asyncio.AbstractEventLoop | None = None
        self._told_to_end = False
        self.set_reactive(TopApp.view, view)

    def compose(self) -> ComposeResult:
        yield Static("kmemtrace  waiting for the first snapshot ...", id="summary", markup=False)
        yield RowTable(id="table")
        yield Static("", id="empty", markup=False)
        with Horizontal(id="prompt"):
            yield Static(" filter / ", id="slash", markup=False)
            yield Input(placeholder="part of a cgroup, container or call site", id="filter")
        yield Static("", id="hints", markup=False)

    def on_mount(self) -> None:
        self._loop_of_app = asyncio.get_running_loop()
        self.query_one(RowTable).focus()
        self._refresh_hints()
        self._reader.start()
        if self._duration is not None:
            self.set_timer(self._duration, self.exit)
        if self._told_to_end:
            self.exit()

    def on_unmount(self) -> None:
        self._stop.set()

    def run_to_end(self) -> None:
        """Runs the app until its user or a signal ends it; when this returns, nothing reads the
        source any more. To be called in the main thread.

        Raises the error that ended it.
        """
        with ending(self._end):
            try:
                self.run()
            finally:
                self._stop.set()
                if self._reader.ident is not None:
                    self._reader.join()
        if self.failure is not None:
            raise self.failure

    def _end(self) -> None:
        """From a signal handler, at any time in the app's life."""
        self._told_to_end = True
        if self._loop_of_app is not None and not self._loop_of_app.is_closed():
            self._loop_of_app.call_soon_threadsafe(self.exit)

    def _read(self) -> None:
        """In a thread of its own: one update thread posts messages."""
        while not self._stop.is_set():
            try:
                snapshot = self._source()
            except Exception as error:  # noqa: BLE001 run_to_end() raises it
                self.failure = error
                self.post_message(self.Failed())
                return
            self._taken.clear()
            self.post_message(self.Fresh(snapshot))
            # A view that its terminal held up wants the next frame, not all that are past by then.
            while not self._stop.wait(self._interval) and not self._taken.is_set():
                pass

    def on_top_app_failed(self) -> None:
        self.exit()

    def on_top_app_fresh(self, message: Fresh) -> None:
        self._taken.set()
        self._before_latest, self.latest = self.latest, message.snapshot
        if not self.frozen:
            self.previous, self.shown = self._before_latest, message.snapshot

    def on_resize(self) -> None:
        # The new size holds from the next refresh on.
        self.call_after_refresh(self._refresh_all)

    def _refresh_all(self) -> None:
        self._refresh_summary()
        self._refresh_table()
        self._refresh_hints()

    def watch_latest(self) -> None:
        self._refresh_summary()

    def watch_shown(self) -> None:
        self._refresh_table()

    def watch_view(self) -> None:
        self._refresh_all()

    def watch_frozen(self, frozen: bool) -> None:
        if not frozen:
            self.previous, self.shown = self._before_latest, self.latest
        self._refresh_summary()
        self._refresh_hints()

    @property
    def _mounted(self) -> bool:
        """Whether the widgets are there: a Snapshot may still come when the view has been quit."""
        return self._loop_of_app is not None and bool(self.screen_stack)

    def _refresh_summary(self) -> None:
        latest = self.latest
        if latest is None or not self._mounted:
            return
        width = self.size.width
        frozen = self._frozen_for()
        title = Text(summary.title(latest, width, summary.marks(self.view), frozen))
        title.stylize(_FROZEN, 0, len(frozen))
        losses = Text(summary.losses(latest, width))
        if latest.losses.missed_events:
            losses.stylize(_LOST, 0, len(summary.lost_words(latest.losses)))
        totals = Text(summary.totals(latest, self._before_latest, width))
        totals.stylize(_LOST, 0, len(summary.mismatch_words(latest)))
        self._main("#summary", Static).update(Text("\n").join([title, totals, losses]))

    def _frozen_for(self) -> str:
        if not self.frozen or self.latest is None or self.shown is None:
            return ""
        seconds = max(0, round(self.latest.time - self.shown.time))
        return f" FROZEN for {text.duration(seconds) if seconds >= 60 else f'{seconds} s'} "

    def _refresh_table(self) -> None:
        if self.shown is None or not self._mounted:
            return
        found = rows(self.shown, self.previous, self.view)
        table, notice = self._main("#table", RowTable), self._main("#empty", Static)
        table.display, notice.display = bool(found), not found
        notice.update(f"{empty(self.shown, self.view)}\n{self._remedy()}")
        width = self.size.width - table.scrollbar_size_vertical
        fleet = self.shown.hosts is not None
        chosen = columns.columns(width, self.view.by, latency_shown(self.shown), fleet=fleet)
        table.show(found, chosen, self.view.sort)

    def _remedy(self) -> str:
        """What would bring rows into an empty table."""
        if self.view.filter:
            return "Escape clears the filter."
        return "d shows all cgroups again." if self.view.dead_only else ""

    def _refresh_hints(self) -> None:
        if not self._mounted:
            return
        typing = self._main("#prompt", Horizontal).display
        line = TYPING if typing else hints(self.size.width, self.view, frozen=self.frozen)
        self._main("#hints", Static).update(line)

    def _main(self, selector: str, kind: type[_Widget]) -> _Widget:
        """A widget of the table's screen, whatever lies over it."""
        return self.screen_stack[0].query_one(selector, kind)

    def on_row_table_chosen(self, event: RowTable.Chosen) -> None:
        self.push_screen(SitesScreen(self.view.by, event.key))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
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
        self._type_filter(True)
        line.focus()

    def action_clear_filter(self) -> None:
        self._end_filter("")

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.query_one("#prompt").display:
            self.view = dataclasses.replace(self.view, filter=event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._end_filter(event.value)

    def _end_filter(self, wanted: str) -> None:
        self._type_filter(False)
        self.view = dataclasses.replace(self.view, filter=wanted)
        self.query_one(RowTable).focus()

    def _type_filter(self, on: bool) -> None:
        self.query_one("#prompt", Horizontal).display = on
        self._refresh_hints()
