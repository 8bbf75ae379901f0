"""The time line: a recording is played, paused, stepped through and searched for findings."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.recording.folder import DamagedError, minutes
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.writer import Writer
from kmemtrace.tui.player import Player
from kmemtrace.tui.replay import ReplayApp
from tests.sample import mismatch
from tests.screen.conftest import NARROW, SIZES, WIDE, Screen, Source, growing

COUNT, EACH = 9, 3
FOUND_AT = (2, 5)
INTERVAL = 3600.0


def moments() -> Iterator[Snapshot]:
    for step in range(COUNT):
        found = tuple(mismatch(pid=at, count=1) for at in FOUND_AT if at <= step)
        yield dataclasses.replace(growing(step), watched_seconds=100.0 + 2 * step, mismatches=found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine moments in three minutes; what is played takes an hour for each, so that keys alone move it."""
    return recorded(tmp_path, INTERVAL)


def recorded(folder: Path, interval: float) -> Path:
    with Writer(folder, interval, minute=1e9) as writer:
        writer.begin({})
        for step, snapshot in enumerate(moments()):
            writer.add(snapshot)
            if step % EACH == EACH - 1:
                writer.finish()
    return folder


class Timed(Screen):
    """A screen with a time line."""

    def timeline(self) -> str:
        return self.lines()[-2]

    def shown(self) -> int:
        """Which moment the time line says that it is."""
        minute, second = map(int, re.findall(r":(\d\d):(\d\d) UTC", self.timeline())[0])
        return (60 * minute + second - 1_780_000_000 % 3600) // 2

    def held(self) -> int:
        """Which moment the table is of, by what /job holds in it."""
        line = next(line for line in self.table() if line.startswith("/job"))
        sizes = [f"{4 * (100 + 900 * step) / (1024 if step else 1):.4g}" for step in range(COUNT)]
        return next(s for s in range(COUNT) if re.split(r"\s+", line)[2][:-1] == rounded(sizes[s]))


def rounded(size: str) -> str:
    return f"{float(size):.1f}".removesuffix(".0") if float(size) < 9.95 else f"{float(size):.0f}"


@asynccontextmanager
async def running(
    folder: Path, size: tuple[int, int], at: int = 0
) -> AsyncIterator[tuple["Timed", Pilot[None]]]:
    replay = Replay(folder)
    first = replay.first()
    app = ReplayApp(Player(replay, replay.moved(first.position, at)), View())
    async with app.run_test(size=size) as pilot:
        screen = Timed(app, Source(growing), pilot)
        await until(pilot, lambda: app.latest is not None and "UTC" in screen.timeline())
        yield screen, pilot


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(500):
        await pilot.pause()
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never held")


Playing = Callable[["Timed", Callable[..., Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]]


def play(folder: Path, do: Playing, size: tuple[int, int] = NARROW, at: int = 0) -> None:
    async def run() -> None:
        async with running(folder, size, at) as (screen, pilot):

            async def goes_to(key: str, moment: int) -> None:
                await screen.press(key)
                await until(pilot, lambda: screen.shown() == moment)
                assert screen.held() == moment, key

            await do(screen, goes_to)

    asyncio.run(run())


@SIZES
def test_keys_of_the_time_line(size: tuple[int, int], folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        assert screen.shown() == screen.held() == 0
        assert screen.timeline().startswith("playing")
        for key, moment in (
            ("full_stop", 1),
            ("full_stop", 2),
            ("full_stop", 3),
            ("comma", 2),
            ("f", 3),
            ("f", 6),
            ("full_stop", 7),
            ("b", 6),
            ("b", 3),
            ("dollar_sign", 8),
            ("0", 0),
        ):
            await goes_to(key, moment)
        assert screen.timeline().startswith("paused"), "a step pauses"

    play(folder, do, size)


def test_findings_are_jumped_to(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await goes_to("n", 2)
        await goes_to("n", 5)
        assert "MISMATCHES 2 certain" in screen.header()
        await screen.press("n")
        await until(screen._pilot, lambda: "no finding there" in screen.timeline())
        assert screen.held() == 5
        await goes_to("p", 2)
        assert "no finding" not in screen.timeline()
        assert "MISMATCHES 1 certain" in screen.header()

    play(folder, do)


def test_rates_are_since_the_moment_before_whatever_was_shown(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await goes_to("dollar_sign", 8)
        far = screen.table()[:4]
        await goes_to("comma", 7)
        await goes_to("full_stop", 8)
        assert screen.table()[:4] == far
        assert "+3.5M" in next(line for line in far if line.startswith("/job")), "900 pages"

    play(folder, do)


def test_space_pauses_and_plays(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        assert "space pause" in screen.hints()
        await screen.press("space")
        assert screen.timeline().startswith("paused")
        assert "space play" in screen.hints()
        assert "FROZEN" not in screen.header()
        await screen.press("space")
        assert screen.timeline().startswith("playing")
        assert screen.held() == 0

    play(folder, do)


@pytest.mark.parametrize(("keys", "speeds"), [("plus minus", "2 1"), ("] [", "2 1")], ids=["+-", "]["])
def test_speed(keys: str, speeds: str, folder: Path) -> None:
    names = {"]": "right_square_bracket", "[": "left_square_bracket"}

    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        for key, speed in zip(keys.split(), speeds.split(), strict=True):
            await screen.press(names.get(key, key))
            assert f" x{speed} " in screen.timeline()
        for _ in range(20):
            await screen.press("minus")
        assert " x0.25 " in screen.timeline()
        for _ in range(20):
            await screen.press("plus")
        assert " x1000 " in screen.timeline()
        assert "every" not in screen.header(), "the interval of a tracer"

    play(folder, do)


def test_it_plays_to_the_end_and_on_where_it_is_recorded_further(tmp_path: Path) -> None:
    recorded(tmp_path, 0.02)

    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await until(screen._pilot, lambda: screen.timeline().startswith("at the end"))
        assert screen.shown() == screen.held() == COUNT - 1
        recorded(tmp_path, 0.02)
        await until(screen._pilot, lambda: screen.shown() < COUNT - 1)
        await until(screen._pilot, lambda: screen.timeline().startswith("at the end"))

    play(tmp_path, do)


def test_a_click_on_the_time_line(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        line = screen.timeline()
        await screen.click(line.rindex("─"), screen.lines().index(line))
        await until(screen._pilot, lambda: screen.shown() == COUNT - 1)
        assert screen.timeline().endswith("●")
        line = screen.timeline()
        await screen.click(line.index("━"), screen.lines().index(line))
        await until(screen._pilot, lambda: screen.shown() == 0)
        assert screen.timeline().startswith("playing"), "it plays on from there"

    play(folder, do, WIDE)


def test_counting_from_a_moment_ends_before_it(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await screen.press("c")
        await goes_to("full_stop", 5)
        assert "counted for" in screen.header()
        await goes_to("b", 3)
        assert "counted for" not in screen.header()

    play(folder, do, at=4)


def test_behind_a_row_it_plays_on(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await screen.press("enter")
        assert screen.lines()[0].startswith("/web")
        before = screen.text()
        await screen.press("dollar_sign")
        await until(screen._pilot, lambda: screen.text() != before)
        await screen.press("escape")
        assert screen.held() == 8

    play(folder, do)


def test_its_keys_are_in_the_help_and_those_of_a_tracer_are_not(folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        await screen.press("a")
        await screen.press("question_mark")
        assert "the next finding" in screen.text()
        assert "faster or slower" in screen.text()
        for words in ("read all kernel memory", "counting goes on", "longer or shorter"):
            assert words not in screen.text()

    play(folder, do, (100, 80))


@pytest.mark.parametrize("width", [50, 60, 79, 80, 140, 200])
def test_no_line_is_wider_than_the_screen(width: int, folder: Path) -> None:
    async def do(screen: Timed, goes_to: Callable[..., Coroutine[Any, Any, None]]) -> None:
        for keys in ((), ("full_stop",), ("n", "n", "n"), ("t",)):
            await screen.press(*keys)
            assert max(map(len, screen.lines())) <= width
            assert "UTC" in screen.timeline()
            assert "●" in screen.timeline() or width < 79

    play(folder, do, (width, 24))


class Headless(ReplayApp):
    """On no terminal, as the tests have none."""

    def run(self, **_: object) -> None:
        super().run(headless=True, size=(80, 24))


def test_a_minute_that_is_damaged_ends_the_view_with_a_sentence(tmp_path: Path) -> None:
    recorded(tmp_path, 0.02)
    (minutes(tmp_path)[1].path / "sites.parquet").write_bytes(b"")
    replay = Replay(tmp_path)
    with pytest.raises(DamagedError, match=r"sites\.parquet is damaged"):
        Headless(Player(replay, replay.first()), View()).run_to_end()
