"""Runs the live view: `kmemtrace top` in a terminal."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from kmemtrace import text
from kmemtrace.model.row import follows_objects, latency_shown
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.tables import Tables
from kmemtrace.model.view import View
from kmemtrace.tui import columns, summary
from kmemtrace.tui.feed import Feed
from kmemtrace.tui.header import header
from kmemtrace.tui.hints import TYPING, hints, keys
from kmemtrace.tui.history import History
from kmemtrace.tui.keys import KeyedApp
from kmemtrace.tui.plain import empty
from kmemtrace.tui.shown import Following, Shown
from kmemtrace.tui.signals import ending
from kmemtrace.tui.table import RowTable

_Widget = TypeVar("_Widget", bound=Widget)


class TopApp(KeyedApp):
    """Shows a new Snapshot every `interval` seconds.

    The table stands still while frozen; counting, and the totals above it, go on. An error of
    `source` ends the app, and run_to_end() raises it.
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

    class Fresh(Message):
        """Says that a new Snapshot has come."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    class Failed(Message):
        """Says that there will be no further Snapshot."""

    def __init__(
        self,
        source: Callable[[], Snapshot],
        interval: float,
        view: View,
        duration: float | None = None,
        take_census: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepares the view.

        Args:
            source: Takes a Snapshot.
            interval: Seconds between Snapshots.
            view: What is shown first, and how.
            duration: Seconds after which it ends; None for never.
            take_census: Has a census taken at once, and returns before it is.
        """
        super().__init__(ansi_color=True)
        self.take_census = take_census
        self._duration = duration
        self.feed = Feed(
            source, interval, lambda snapshot: self.post_message(self.Fresh(snapshot)), self.tell_failure
        )
        self.history = History(view.by)
        self._tables = Tables()
        self._previous: Snapshot | None = None
        """The Snapshot before `shown`, for rates."""
        self._before_latest: Snapshot | None = None
        self._loop_of_app: asyncio.AbstractEventLoop | None = None
        self._told_to_end = False
        self.set_reactive(KeyedApp.view, view)
        self.set_reactive(KeyedApp.interval, interval)

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
        # Back from Ctrl-Z, the terminal is empty.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.feed.start()
        if self._duration is not None:
            self.set_timer(self._duration, self.exit)
        if self._told_to_end:
            self.exit()

    def on_unmount(self) -> None:
        self.feed.stop()

    def run_to_end(self) -> None:
        """Runs the app until its user or a signal ends it, and raises the error that ended it, if any.

        When this returns, nothing reads the source any more. It has to be called in the main thread.
        """
        with ending(self._end):
            try:
                self.run()
            finally:
                self.feed.join()
        if self.feed.failure is not None:
            raise self.feed.failure

    def _end(self) -> None:
        """Ends the app; called from a signal handler, at any time in the app's life."""
        self._told_to_end = True
        if self._loop_of_app is not None and not self._loop_of_app.is_closed():
            self._loop_of_app.call_soon_threadsafe(self.exit)

    def tell_failure(self) -> None:
        """Says, from the feed's thread, that there will be no further Snapshot."""
        self.post_message(self.Failed())

    def on_top_app_failed(self) -> None:
        self.exit()

    def on_top_app_fresh(self, message: Fresh) -> None:
        self.feed.taken()
        self.take(message.snapshot, self.latest)

    def take(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        """Takes a Snapshot, and the one that its rates are since; both are shown unless it is frozen."""
        self.history.add(snapshot)
        self._before_latest, self.latest = before, snapshot
        if not self.frozen:
            self._previous, self.shown = before, snapshot

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

    def watch_baseline(self) -> None:
        self._refresh_all()

    def watch_interval(self, seconds: float) -> None:
        super().watch_interval(seconds)
        self._refresh_summary()

    def watch_frozen(self, frozen: bool) -> None:
        if not frozen:
            self._previous, self.shown = self._before_latest, self.latest
        self._refresh_summary()
        self._refresh_hints()

    @property
    def _mounted(self) -> bool:
        """Whether the widgets are there: a Snapshot may still come when the view has been quit."""
        if self._loop_of_app is None or not self.screen_stack:
            return False
        return len(self.screen_stack[0].query("#summary, #table, #empty, #prompt, #hints")) == 5

    def _refresh_summary(self) -> None:
        latest, baseline = self.latest, self.baseline
        if latest is None or not self._mounted:
            return
        counted = None if baseline is None else latest.seconds_since(baseline)
        marks = summary.marks(self.view, counted)
        since = self._before_latest if baseline is None else baseline
        self._main("#summary", Static).update(
            header(latest, since, self.size.width, marks, self._frozen_for(), self.told_interval),
            layout=False,
        )

    @property
    def told_interval(self) -> float | None:
        """The interval that the title tells; None for none."""
        return self.interval

    def _frozen_for(self) -> str:
        if not self.frozen or self.latest is None or self.shown is None:
            return ""
        seconds = max(0, round(self.latest.time - self.shown.time))
        return f" FROZEN for {text.duration(seconds) if seconds >= 60 else f'{seconds} s'} "

    def _refresh_table(self) -> None:
        if self.shown is None or not self._mounted:
            return
        found = self._tables.table(self.shown, self._previous, self.view, self.baseline)
        table, notice = self._main("#table", RowTable), self._main("#empty", Static)
        table.display, notice.display = bool(found), not found
        if not found:
            notice.update(f"{empty(self.shown, self.view)}\n{self._remedy()}")
        width = self.size.width - table.scrollbar_size_vertical
        known = {
            "fleet": self.shown.hosts is not None,
            "census": self.shown.census is not None,
            "objects": follows_objects(self.shown),
        }
        chosen = columns.columns(width, self.view.by, latency_shown(self.shown), **known)
        table.show_rows(found, chosen, self.view.sort)
        self.now = Shown(self.shown, found, self.view, self.history)
        for screen in self.screen_stack[1:]:
            if isinstance(screen, Following):
                screen.follow(self.now)

    def _remedy(self) -> str:
        """Says what would bring rows into an empty table."""
        if self.view.filter:
            return "Escape clears the filter."
        return "d shows all cgroups again." if self.view.dead_only else ""

    def _refresh_hints(self) -> None:
        if not self._mounted:
            return
        typing = self._main("#prompt", Horizontal).display
        line = (
            keys(TYPING)
            if typing
            else hints(self.size.width, self.view, self.space_hints, counting=self.baseline is not None)
        )
        self._main("#hints", Static).update(line)

    @property
    def space_hints(self) -> list[tuple[int, str]]:
        """What the hints say of the keys that hold what is shown, and let it go on."""
        return [(96, "space go on") if self.frozen else (70, "space freeze")]

    def type_filter(self, on: bool) -> None:
        super().type_filter(on)
        self._refresh_hints()

    def _main(self, selector: str, kind: type[_Widget]) -> _Widget:
        """Returns a widget of the table's screen, whatever lies over it."""
        return self.screen_stack[0].query_one(selector, kind)
