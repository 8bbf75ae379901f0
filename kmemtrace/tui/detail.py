"""The drill-down: a row's call sites and page lifetimes, then one site's stack."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Static

from kmemtrace.model.histogram import Histogram, upper_bound_seconds
from kmemtrace.model.rows import Detail, GroupBy, detail
from kmemtrace.model.snapshot import Site
from kmemtrace.tui import text

if TYPE_CHECKING:
    from kmemtrace.tui.app import TopApp

_BACK: list[BindingType] = [
    Binding("escape", "app.pop_screen", "back"),
    Binding("backspace", "app.pop_screen", "back"),
]
_WIDTHS = (13, 32, 8, 10, 0)
_HEADINGS = ("KIND", "SITE", "HELD", "CHARGED", "CGROUP")
_BAR = 40


class SitesScreen(Screen[None]):
    """The call sites behind one row, and how long its pages were held. Follows the counting."""

    CSS = """
    #title { height: 2; }
    #sites { height: 1fr; }
    #histogram { height: auto; max-height: 50%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*_BACK]

    app: "TopApp"

    def __init__(self, by: GroupBy, key: str) -> None:
        super().__init__()
        self._by, self._key = by, key
        self._sites: list[Site] = []

    def compose(self) -> ComposeResult:
        yield Static("", id="title", markup=False)
        yield DataTable[Text](id="sites", cursor_type="row")
        yield VerticalScroll(Static("", id="bars", markup=False), id="histogram")

    def on_mount(self) -> None:
        table = self.query_one("#sites", DataTable)
        for heading, width in zip(_HEADINGS, _WIDTHS, strict=True):
            justify = "right" if heading in ("HELD", "CHARGED") else "left"
            table.add_column(Text(heading, "bold", justify=justify), width=width or None)
        table.focus()
        self.watch(self.app, "shown", self._show)

    def _show(self) -> None:
        snapshot = self.app.shown
        found = None if snapshot is None else detail(snapshot, self._by, self._key)
        title = self.query_one("#title", Static)
        if snapshot is None or found is None:
            title.update("It holds nothing any more.\nEscape: back")
            return
        title.update(f"{text.printable(found.name)}\nEnter: stack   Escape: back")
        self._show_sites(found, snapshot.page_size)
        self.query_one("#bars", Static).update(bars(found.latency, self.size.width))

    def _show_sites(self, found: Detail, page_size: int) -> None:
        table = self.query_one("#sites", DataTable)
        place = table.cursor_row
        table.clear()
        self._sites = [site for _, site in found.sites]
        for path, site in found.sites:
            table.add_row(
                Text(site.kind.value),
                Text(text.cut(site.symbol, _WIDTHS[1])),
                Text(text.size(site.held_pages * page_size), justify="right"),
                Text(text.size(site.charged_pages * page_size), justify="right"),
                Text(text.shortened(path, 40)),
            )
        table.move_cursor(row=place, animate=False)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.app.push_screen(StackScreen(self._sites[event.cursor_row]))


class StackScreen(Screen[None]):
    """One allocation stack, innermost frame first."""

    BINDINGS: ClassVar[list[BindingType]] = [*_BACK]

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site

    def compose(self) -> ComposeResult:
        site = self._site
        frames = "\n".join(f"  {text.printable(frame)}" for frame in site.stack)
        head = f"{site.kind.value}  {site.symbol}   Escape: back\n\n"
        nothing = "The stack was not recorded: the stack table had no room for it."
        yield VerticalScroll(Static(head + (frames or nothing), markup=False))


def bars(latency: Mapping[str, Histogram], width: int) -> str:
    """Histograms as bars, one bucket a line, from the first to the last that counts something."""
    return "\n".join(_bars(name, histogram, width) for name, histogram in latency.items())


def _bars(name: str, histogram: Histogram, width: int) -> str:
    used = [i for i, n in enumerate(histogram.counts) if n]
    if not used:
        return f"{name}: nothing has ended yet"
    most, room = max(histogram.counts), max(8, min(_BAR, width - 30))
    lines = [f"{name}: {histogram.count} ended, mean {text.duration(histogram.sum_ns / 1e9 / histogram.count)}"]
    for i in range(used[0], used[-1] + 1):
        n = histogram.counts[i]
        bar = "#" * (-(-n * room // most))
        lines.append(f"  < {text.duration(upper_bound_seconds(i)):>7} {bar:{room}} {n}")
    return "\n".join(lines)
