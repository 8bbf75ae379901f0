"""What the user of `kmemtrace top` reads before any key: a header, columns and hints that fit the screen."""

import pytest

from tests import sample
from tests.screen.conftest import ALWAYS, NARROW, WIDE, OnScreen, Screen


@pytest.mark.parametrize(
    ("size", "headings", "hints"),
    [
        (
            NARROW,
            "CGROUP STATE HELD GROWTH CHARGE/s OLDEST TOP SITE",
            "Enter sites  s sort  / filter  space freeze  t tree  d dead  ? help  q quit",
        ),
        (
            WIDE,
            "CGROUP STATE HELD GROWTH CHARGE/s UNCHARGE/s FAIL/s OLDEST LIFE P50 LIFE P99 MISMATCH TOP SITE",
            "Enter sites  s sort  r reverse  / filter  space freeze  t tree  d dead  c count from now  "
            "m mismatches  " + ALWAYS,
        ),
    ],
    ids=["80x24", "140x40"],
)
def test_first_frame(size: tuple[int, int], headings: str, hints: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        lines = screen.lines()
        assert len(lines) == size[1]
        assert max(map(len, lines)) <= size[0]
        assert "node-7" in lines[0]
        assert lines[1].startswith("held 10M  charge/s")
        assert " ".join(screen.table()[0].split()) == headings
        assert len(screen.table()) == 1 + 4
        assert screen.hints() == hints

    on_screen(play, size)


def test_every_cell_of_a_row(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        row = next(line for line in screen.table() if "nginx" in line)
        expected = (
            "/system.slice/nginx.service online 480K +480K 260 200 0 12s 8.2µs 2.1ms 0 alloc_skb_with_fr…"
        )
        assert " ".join(row.split()) == expected

    on_screen(play, WIDE)


@pytest.mark.parametrize("width", [50, 60, 79, 80, 81, 100, 139, 140, 200])
def test_no_line_is_wider_than_the_screen(width: int, on_screen: OnScreen) -> None:
    """Whatever the state: what does not fit must be left out, not wrapped or cut."""

    async def play(screen: Screen) -> None:
        for keys in ((), ("space",), ("t",), ("d",), ("slash", "j", "o", "b", "enter")):
            await screen.press(*keys)
            assert max(map(len, screen.lines())) <= width
            assert ALWAYS in screen.hints()
            assert "…" not in screen.hints()
            assert "missed 817  map full 0  healed 419  swept 35" in screen.header()

    on_screen(play, (width, 24))


def test_resizing_chooses_columns_and_hints_anew(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.resize(140, 40)
        assert "LIFE P99" in screen.table()[0]
        assert "m mismatches" in screen.hints()
        await screen.resize(80, 24)
        assert "LIFE P99" not in screen.table()[0]
        assert max(map(len, screen.lines())) <= 80

    on_screen(play)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/[red]x[/red]", "/[red]x[/red]"),
        ("/a\x1b[2Jb\nc", "/a?[2Jb?c"),
        ("/[@click=app.quit]x[/]", "/[@click=app.quit]x[/]"),
        ("/日本語", "/日本語"),
    ],
)
def test_a_cgroups_name_is_text(name: str, shown: str, on_screen: OnScreen) -> None:
    """Whoever may make a cgroup chooses its name: it must not speak to the terminal."""

    async def play(screen: Screen) -> None:
        assert screen.table()[1].startswith(f"{shown} ")
        assert screen.table()[1].split()[1:3] == ["online", "20K"]
        await screen.press("enter")
        assert screen.lines()[0] == shown
        await screen.press("escape", "slash", *"zz")
        assert "\x1b" not in screen.text()

    on_screen(play, make=lambda _: sample.snapshot(sample.cgroup(name, (sample.site(5),))))
