"""Binds the keys of the table, and does what each asks for; what is shown then is TopApp's."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.reactive import reactive
from textual.widgets import Input

from kmemtrace.model.columns import COLUMNS, columns_of
from kmemtrace.model.row import follows_objects
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.tree import opened_to_fit
from kmemtrace.model.view import SortKey, View
from kmemtrace.tui import steering
from kmemtrace.tui.feed import Feed
from kmemtrace.tui.functions import FunctionsScreen
from kmemtrace.tui.help import HelpScreen
from kmemtrace.tui.listing import Listing
from kmemtrace.tui.mismatches import MismatchScreen
from kmemtrace.tui.shown import Shown
from kmemtrace.tui.table import RowTable


class KeyedApp(App[None]):
    """Has the state that keys change: `view`, `frozen` and `baseline`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        # Textual would copy, which nobody expects here.
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "suspend", show=False, priority=True),
        Binding("s,greater_than_sign", "sort_beside(1)", "sort"),
        Binding("less_than_sign", "sort_beside(-1)", "sort"),
        *(Binding(c.key, f"sort_by('{c.sort}')", "sort") for c in COLUMNS if c.sort is not None),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter"),
        Binding("space", "freeze", "freeze", priority=False),
        Binding("c", "count", "count from now"),
        Binding("a", "census", "account anew"),
        Binding("t", "tree", "tree"),
        Binding("asterisk", "fold_all", "open or close all"),
        Binding("plus", "plus", "open, or longer interval"),
        Binding("minus", "minus", "close, or shorter interval"),
        Binding("right_square_bracket", "interval(1)", "longer interval"),
        Binding("left_square_bracket", "interval(-1)", "shorter interval"),
        Binding("d", "dead", "dead only"),
        Binding("m", "mismatches", "mismatches"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "clear", "clear"),
    ]
    _OF_TABLE: ClassVar[frozenset[str]] = frozenset(
        {"sort_beside", "sort_by", "reverse", "filter", "tree", "fold_all", "plus", "minus", "dead"}
        | {"mismatches", "help", "clear"}
    )

    latest: reactive[Snapshot | None] = reactive(None, init=False)
    """The newest Snapshot of the counting."""
    shown: reactive[Snapshot | None] = reactive(None, init=False)
    """The Snapshot that the table shows: `latest`, but for when it is frozen."""
    frozen: reactive[bool] = reactive(False, init=False)
    view: reactive[View] = reactive(View(), init=False)
    baseline: reactive[Snapshot | None] = reactive(None, init=False)
    """The Snapshot where the user wants counts to begin; None: at the start."""
    interval: reactive[float] = reactive(0.0, init=False)

    replayed: ClassVar[bool] = False
    """Whether it shows a recording, which has keys of its own."""

    feed: Feed[Any]
    take_census: Callable[[], None]
    now: Shown | None = None
    """The frame that the table shows."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Returns whether a key means something: the table's do not where another screen lies over it."""
        return len(self.screen_stack) <= 1 or action not in self._OF_TABLE

    @property
    def _table(self) -> RowTable:
        return self.screen_stack[0].query_one(RowTable)

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        if self.now is not None:
            self.push_screen(FunctionsScreen(self.now, event.key))

    def on_row_table_sort_chosen(self, event: RowTable.SortChosen) -> None:
        self.action_sort_by(event.sort)

    def on_row_table_folded(self, event: RowTable.Folded) -> None:
        self.view = steering.folded(self.view, event.place, self._table.rows, opened=event.opened)

    def action_sort_beside(self, by: int) -> None:
        self.view = steering.sorted_beside(self.view, self._table.sorts, by)

    def action_sort_by(self, sort: str) -> None:
        """Sorts also by a column that has no room on the screen: the title says by which."""
        fleet = self.shown is not None and self.shown.hosts is not None
        census = self.shown is not None and self.shown.census is not None
        objects = self.shown is not None and follows_objects(self.shown)
        chosen = columns_of(self.view.by, fleet=fleet, census=census, objects=objects)
        if any(column.sort == sort for column in chosen):
            self.view = steering.sorted_by(self.view, SortKey(sort))

    def action_reverse(self) -> None:
        self.view = dataclasses.replace(self.view, reverse=not self.view.reverse)

    def action_tree(self) -> None:
        view = dataclasses.replace(self.view, tree=not self.view.tree)
        if view.tree and view.opened is None and self.shown is not None:
            whole = dataclasses.replace(view, filter="", dead_only=False)
            fit = opened_to_fit(rows(self.shown, None, whole), self._table.page)
            view = dataclasses.replace(view, opened=fit)
        self.view = view

    def action_fold_all(self) -> None:
        if self.view.tree:
            self.view = steering.all_folded(self.view, self._table.rows)

    def action_plus(self) -> None:
        """Opens a parent in the tree, and lengthens the interval elsewhere.

        In the tree ] and [ are for the interval.
        """
        if self.view.tree:
            self._table.action_open()
        else:
            self.action_interval(1)

    def action_minus(self) -> None:
        if self.view.tree:
            self._table.action_close()
        else:
            self.action_interval(-1)

    def action_interval(self, by: int) -> None:
        self.interval = steering.next_interval(self.interval, by)

    def watch_interval(self, seconds: float) -> None:
        self.feed.interval = seconds

    def action_dead(self) -> None:
        self.view = dataclasses.replace(self.view, dead_only=not self.view.dead_only, closed=frozenset())

    def action_freeze(self) -> None:
        self.frozen = not self.frozen

    def action_census(self) -> None:
        self.take_census()

    def action_count(self) -> None:
        """Makes what is on the screen the zero that further counts begin at."""
        self.baseline = self.shown

    def action_mismatches(self) -> None:
        self.push_screen(MismatchScreen(self.now))

    def action_help(self) -> None:
        self.push_screen(HelpScreen(replayed=self.replayed))

    def action_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.value = self.view.filter
        self.type_filter(True)
        line.focus()

    def action_clear(self) -> None:
        """Clears the filter; without one the baseline."""
        typing = self.query_one("#prompt", Horizontal).display
        if not typing and not self.view.filter:
            self.baseline = None
        self._end_filter("")

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.query_one("#prompt").display:
            self.view = steering.filtered(self.view, event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._end_filter(event.value)

    def _end_filter(self, wanted: str) -> None:
        self.type_filter(False)
        self.view = steering.filtered(self.view, wanted)
        self._table.focus()

    def type_filter(self, on: bool) -> None:
        """Shows or hides the line that the filter is typed in."""
        self.query_one("#prompt", Horizontal).display = on
