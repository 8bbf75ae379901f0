"""The drill-down: a row's call sites and page lifetimes, then one site's stack."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Static

from kmemtrace.model.histogram import Histogram, upper_bound_seconds
from kmemtrace.model.rows import Detail, GroupBy, detail
from kmemtrace.model.snapshot import Cgroup, Site
from kmemtrace.report.printable import printable
from kmemtrace.tui import text

if TYPE_CHECKING:
    from kmemtrace.tui.app import TopApp

_BACK: list[BindingType] = [
    Binding("escape", "app.pop_screen", "back"),
    Binding("backspace", "app.pop_screen", "back"),
]
_NUMBERS = ("HELD", "CHARGED")
_BAR = 40
_MOST_SITES = 100
_Place = tuple[str, tuple[str, ...]]
"""Path of a cgroup and stack: what one call site is known by."""


class SitesScreen(Screen[None]):
    """The call sites behind one row, and how long its pages were held. Follows the counting."""

    CSS = """
    #title { height: 2; text-style: bold; }
    #sites { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #sites > .datatable--header { color: ansi_default; background: ansi_default; }
    #sites > .datatable--cursor {
        color: ansi_default; background: ansi_default; text-style: reverse;
    }
    #histogram { height: auto; max-height: 50%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*_BACK]

    app: "TopApp"

    def __init__(self, by: GroupBy, key: str) -> None:
        super().__init__()
        self._by, self._key = by, key
        self._sites: list[tuple[str, Site]] = []

    def compose(self) -> ComposeResult:
        yield Static("", id="title", markup=False)
        yield DataTable[Text](id="sites", cursor_type="row", cell_padding=0)
        yield VerticalScroll(Static("", id="bars", markup=False), id="histogram")
        yield Static("Enter stack  Escape back  q quit", id="hints", markup=False)

    def on_mount(self) -> None:
        self.query_one("#sites", DataTable).focus()
        self.watch(self.app, "shown", self._show)

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        snapshot = self.app.shown
        found = None if snapshot is None else detail(snapshot, self._by, self._key)
        title = self.query_one("#title", Static)
        if snapshot is None or found is None:
            title.update("It holds nothing any more.")
            return
        count = len(found.sites)
        more = f"{_MOST_SITES} of {count:,} call sites" if count > _MOST_SITES else ""
        notes = [(1, n) for n in (more, *facts(found.cgroups)) if n]
        title.update(f"{text.shortened(found.name, self.size.width)}\n{text.fitted(notes, self.size.width)}")
        self._show_sites(found, snapshot.page_size)
        below = bars(found.latency, self.size.width)
        for what in ("sites", "symbols"):
            if what in snapshot.unseen:
                below = f"{snapshot.unseen[what]}\n{below}"
        self.query_one("#bars", Static).update(below)

    def _show_sites(self, found: Detail, page_size: int) -> None:
        """The cursor stays on its site while sites change places."""
        table = self.query_one("#sites", DataTable)
        place = table.cursor_row
        before = _place(self._sites[place]) if place < len(self._sites) else None
        self._sites = list(found.sites[:_MOST_SITES])
        widths = self._widths()
        with self.app.batch_update():
            table.clear(columns=True)
            for heading, width in widths.items():
                shown = heading.rjust(width) if heading in _NUMBERS else heading
                table.add_column(Text(shown, "bold"), width=width)
            for path, site in self._sites:
                table.add_row(*_cells(path, site, page_size, widths))
            places = list(map(_place, self._sites))
            table.move_cursor(row=places.index(before) if before in places else place, animate=False)

    def _widths(self) -> dict[str, int]:
        """Of the columns. Where the row is a cgroup, the title names it."""
        rest = max(20, self.size.width - 1 - 14 - 8 - 10)
        if self._by is GroupBy.CGROUP:
            return {"KIND": 14, "SITE": min(rest, 48), "HELD": 8, "CHARGED": 10}
        site = min(rest // 2, 36)
        return {"KIND": 14, "SITE": site, "HELD": 8, "CHARGED": 10, "  CGROUP": rest - site}

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.cursor_row < len(self._sites):
            self.app.push_screen(StackScreen(self._sites[event.cursor_row][1]))


class StackScreen(Screen[None]):
    """One allocation stack, innermost frame first."""

    BINDINGS: ClassVar[list[BindingType]] = [*_BACK]

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site

    def compose(self) -> ComposeResult:
        site = self._site
        frames = "\n".join(f"  {printable(frame)}" for frame in site.stack)
        head = f"{site.symbol}  ({site.kind.value})\n\n"
        nothing = "The stack was not recorded: the stack table had no room for it."
        yield VerticalScroll(Static(head + (frames or nothing), markup=False))
        yield Static("Escape back  q quit", id="hints", markup=False)


def facts(cgroups: Sequence[Cgroup]) -> list[str]:
    """What a row's columns have no room for; what did not happen, or is not seen, is left out."""
    errors: Counter[str] = Counter()
    for cgroup in cgroups:
        errors.update(cgroup.failed_by_errno or {})
    stalls = sum(c.reclaim_stalls or 0 for c in cgroups)
    stalled = sum(c.reclaim_stall_seconds or 0.0 for c in cgroups)
    explicit = sum(c.explicit_pages or 0 for c in cgroups)
    heirs = {c.reparented_to for c in cgroups} - {None}
    return [
        *(f"{count:,} charges failed with {name}" for name, count in errors.most_common()),
        *([f"{stalls:,} reclaim stalls, {text.duration(stalled)} in all"] if stalls else []),
        *([f"{explicit:,} pages charged outside the allocator"] if explicit else []),
        *(f"counted to {printable(str(heir))} since its removal" for heir in heirs),
    ]


def bars(latency: Mapping[str, Histogram], width: int) -> str:
    """Histograms as bars, one bucket a line, from the first to the last that counts something; a
    dot stands for several that do not."""
    return "\n".join(_bars(name, histogram, width) for name, histogram in latency.items())


def _bars(name: str, histogram: Histogram, width: int) -> str:
    used = [i for i, n in enumerate(histogram.counts) if n]
    verb = "ended" if name == "lifetime" else "timed"
    if not used:
        return f"{name}: none {verb} yet"
    most, room = max(histogram.counts), max(8, min(_BAR, width - 30))
    mean = histogram.sum_ns / 1e9 / histogram.count
    lines = [f"{name}: {histogram.count:,} {verb}, mean {text.duration(mean)}"]
    for before, i in pairwise([used[0] - 1, *used]):
        # One empty bucket is shown as such, more of them would only fill the screen.
        lines += [_line(before + 1, 0, "", room)] if i - before == 2 else []
        lines += [f"{'.':>11}"] if i - before > 2 else []
        n = histogram.counts[i]
        lines.append(_line(i, n, "#" * -(-n * room // most), room))
    return "\n".join(lines)


def _line(index: int, count: int, bar: str, room: int) -> str:
    return f"{_bucket(index)} {bar:{room}} {count:,}"


def _bucket(index: int) -> str:
    bound = upper_bound_seconds(index)
    return f"    {text.duration(bound):>7}" if math.isinf(bound) else f"  < {text.duration(bound):>7}"


def _place(found: tuple[str, Site]) -> _Place:
    path, site = found
    return path, site.stack


def _cells(path: str, site: Site, page_size: int, widths: Mapping[str, int]) -> list[Text]:
    cells = {
        "KIND": Text(site.kind.value),
        "SITE": Text(text.cut(site.symbol, widths["SITE"])),
        "HELD": Text(text.size(site.held_pages * page_size).rjust(widths["HELD"])),
        "CHARGED": Text(text.size(site.charged_pages * page_size).rjust(widths["CHARGED"])),
        "  CGROUP": Text("  " + text.shortened(path, widths.get("  CGROUP", 2) - 2)),
    }
    return [cells[heading] for heading in widths]
