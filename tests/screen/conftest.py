"""The live view on a screen of its own, without a terminal, and what is to be read on it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.tui.app import TopApp
from kmemtrace.tui.table import RowTable
from tests import sample

NARROW, WIDE = (80, 24), (140, 40)
SIZES = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "140x40"])
ALWAYS = "? help  q quit"
"""Among the hints, however little room there is."""


def growing(step: int) -> Snapshot:
    """The job holds more with each step: from step 1 on, the most of all."""
    return sample.snapshot(
        sample.cgroup("/job", (sample.site(100 + 900 * step),)),
        sample.cgroup("/web", (sample.site(500 + 7 * step),)),
        sample.cgroup("/cron", (sample.site(300),)),
        time=1_780_000_000.0 + 2 * step,
    )


class Source:
    """Gives a Snapshot for each step; the steps are the test's."""

    def __init__(self, make: Callable[[int], Snapshot]) -> None:
        self._make = make
        self.step = 0

    def __call__(self) -> Snapshot:
        return self._make(self.step)


class Screen:
    """A running TopApp: its keys, and its lines."""

    def __init__(self, app: TopApp, source: Source, pilot: Pilot[None]) -> None:
        self.app, self._source, self._pilot = app, source, pilot

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def step(self, to: int) -> None:
        """Lets the source's Snapshot number `to` come, at once."""
        self._source.step = to
        self.app.post_message(TopApp.Fresh(self._source()))
        await self._pilot.pause()

    async def resize(self, width: int, height: int) -> None:
        await self._pilot.resize_terminal(width, height)
        await self._pilot.pause()

    def lines(self) -> list[str]:
        """What a user reads, line by line, without the blanks at the ends."""
        # Textual composes its own screenshots from these strips too; it has no public way to them.
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        return "\n".join(self.lines())

    def header(self) -> str:
        """The three lines above the table."""
        return "\n".join(self.lines()[:3])

    def table(self) -> list[str]:
        """What stands between header and hints: the heading, then a line for each row."""
        return [line for line in self.lines()[3:-1] if line]

    def names(self) -> list[str]:
        """First words of the table's rows."""
        return [line.split()[0] for line in self.table()[1:]]

    def hints(self) -> str:
        return self.lines()[-1]

    def styles_of(self, part: str) -> set[str]:
        """The styles in which the text `part` of one line stands on the screen."""
        found: set[str] = set()
        for strip in self.app.screen._compositor.render_strips():
            at, begin = 0, strip.text.find(part)
            for segment in strip:
                if begin >= 0 and begin < at + len(segment.text) and at < begin + len(part):
                    found |= set(str(segment.style).split())
                at += len(segment.text)
        return found

    def colours(self) -> set[str]:
        """Of all that is on the screen, but for the terminal's own."""
        styles = [segment.style for strip in self.app.screen._compositor.render_strips() for segment in strip]
        found = {c.name for style in styles if style for c in (style.color, style.bgcolor) if c}
        return found - {"default"}

    def end_of(self, part: str) -> int:
        """Column of the screen after the text `part`, which counts two for some characters."""
        line = next(line for line in self.lines() if part in line)
        return cell_len(line[: line.index(part) + len(part)])

    async def click(self, x: int, y: int) -> None:
        await self._pilot.click(offset=(x, y))
        await self._pilot.pause()

    def selected(self) -> str | None:
        """Key of the row that the cursor is on."""
        return self.app.query_one(RowTable).selected


Play = Callable[[Screen], Coroutine[Any, Any, None]]
OnScreen = Callable[..., None]


@pytest.fixture
def on_screen() -> OnScreen:
    """Runs the view on a screen of `size` and `play`s on it."""

    def run(
        play: Play,
        size: tuple[int, int] = NARROW,
        make: Callable[[int], Snapshot] = sample.busy,
        view: View | None = None,
    ) -> None:
        asyncio.run(_run(play, size, Source(make), view or View()))

    return run


async def _run(play: Play, size: tuple[int, int], source: Source, view: View) -> None:
    # The interval is an hour: the test alone decides when the next Snapshot comes.
    app = TopApp(source, 3600.0, view)
    async with app.run_test(size=size) as pilot:
        screen = Screen(app, source, pilot)
        for _ in range(100):
            if app.latest is not None:
                break
            await asyncio.sleep(0.02)
        await pilot.pause()
        await play(screen)
