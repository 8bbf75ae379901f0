"""Shows the drill-down: the functions behind a row with their shares, and the stacks below each.

Below that it shows how long the row's pages were held.
"""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from kmemtrace import text
from kmemtrace.model.detail import functions
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.row import Fold, Row
from kmemtrace.model.unseen import Unseen
from kmemtrace.tui import style
from kmemtrace.tui.account_lines import account_lines
from kmemtrace.tui.bars import bars
from kmemtrace.tui.facts import facts
from kmemtrace.tui.function_lines import FunctionLines
from kmemtrace.tui.hints import keys
from kmemtrace.tui.history import sparkline
from kmemtrace.tui.listing import Listing
from kmemtrace.tui.object_lines import cgroup_lines, object_lines
from kmemtrace.tui.shown import Following, Shown
from kmemtrace.tui.stack import StackScreen

_MOST_SPARKS = 60
_NOTHING_ITSELF = "nothing was charged to it itself: closed in the tree, it shows what is below it"


class FunctionsScreen(Following):
    """Follows the counting; when the row is gone, what it last was stays to be read."""

    CSS = """
    #title { height: 3; text-wrap: nowrap; text-overflow: ellipsis; }
    #functions { height: 1fr; }
    #histogram { height: auto; max-height: 45%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,plus", "open(True)", "open", show=False),
        Binding("left,h,minus", "open(False)", "close", show=False),
    ]

    def __init__(self, shown: Shown, key: str) -> None:
        super().__init__(shown)
        self._key = key
        self._row: Row | None = None
        """The row as last seen."""
        self._seen = shown.snapshot.time
        self._is_gone = False
        self._lines = FunctionLines()

    def compose(self) -> ComposeResult:
        yield Static("", id="title", markup=False)
        yield Listing(id="functions")
        yield VerticalScroll(Static("", id="bars", markup=False), id="histogram")
        yield Static(keys("Enter stacks  Escape back  q quit"), id="hints", markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Listing).focus()

    def redraw(self) -> None:
        shown = self.shown
        if shown is None:
            return
        found = shown.rows.find(self._key)
        self._is_gone = found is None
        if found is not None:
            self._row, self._seen = found, shown.snapshot.time
            self._lines.update(functions(found), found)
        if self._row is None:
            return
        self.query_one("#title", Static).update(self._title(self._row, shown))
        listing = self.query_one(Listing)
        self._lines.fit(listing.row_width)
        listing.show(self._lines.keys, self._lines.heading(), self._lines.line)
        below = bars(self._row.latency(), self.size.width)
        account = [] if self._is_gone else self._memory(self._row, shown)
        for what in (Unseen.SITES, Unseen.SYMBOLS):
            if what in shown.snapshot.unseen:
                below = f"{shown.snapshot.unseen[what]}\n{below}"
        self.query_one("#bars", Static).update("\n".join([*account, below]))

    def _memory(self, row: Row, shown: Shown) -> list[str]:
        """Tells the row's memory, by the census, and by the objects that were followed."""
        width = self.size.width
        return [
            *account_lines(row.sums.account(), shown.snapshot.census, width),
            *cgroup_lines(row, width),
            *object_lines(row, width),
        ]

    def _title(self, row: Row, shown: Shown) -> Text:
        width = self.size.width
        name = Text(text.shortened(row.name, width), style.STRONG)
        if row.state is CgroupState.DEAD:
            name.stylize(style.DEAD)
        held = text.size(row.held_bytes)
        if row.sums.shares:
            held = f"{text.size(row.slab_bytes or 0)} in {text.count(row.objects or 0)} objects"
        if self._is_gone:
            ago = text.duration(max(0.0, shown.snapshot.time - self._seen))
            gone = f" GONE  it holds nothing any more; when last seen, {ago} ago, it held {held} "
            return Text("\n").join([name, Text(text.cut(gone, width), style.FROZEN), Text("")])
        if row.fold is Fold.OPEN and not row.sums.parts:
            return Text("\n").join([name, Text(text.cut(_NOTHING_ITSELF, width)), Text("")])
        parts = [(100, f"holds {held}"), (95, "" if row.state is None else row.state.value)]
        parts += [(90, f"with {row.hidden:,} cgroups below")] if row.hidden else []
        parts += [(80 - at, fact) for at, fact in enumerate(facts(list(row.sums.all_cgroups())))]
        return Text("\n").join([name, Text(text.fitted(parts, width)), self._trend(row, shown)])

    def _trend(self, row: Row, shown: Shown) -> Text:
        """Draws a sparkline of what the row held, with the least and the most of it."""
        frames = shown.history.of(row, narrowed=shown.view.narrowed)
        most = max(8, min(_MOST_SPARKS, self.size.width - 40))
        values = frames[-most:]
        if len(values) < 2 or row.sums.shares:
            return Text("")
        page, seconds = row.span.page_size, shown.history.seconds(len(values))
        bounds = f"{text.size(min(values) * page)} to {text.size(max(values) * page)}"
        return Text.assemble(
            ("held ", style.FAINT), sparkline(values), (f" {bounds} in {text.duration(seconds)}", style.FAINT)
        )

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        event.stop()
        stack = self._lines.stack(event.key)
        if stack is None:
            self._lines.toggle(event.key)
            self.redraw()
        elif self._row is not None:
            self.app.push_screen(StackScreen(*stack, self._row.span.page_size))

    def action_open(self, opened: bool) -> None:
        key = self.query_one(Listing).selected
        if key is not None:
            self._lines.open(key, opened=opened)
            self.redraw()
            self.query_one(Listing).move_to(self._lines.function_of(key))
