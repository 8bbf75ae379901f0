"""Which rows there are, and in which order: filtered, sorted, as a tree, held still."""

import pytest

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import GroupBy, SortKey, View
from tests import sample
from tests.screen.conftest import ALWAYS, SIZES, WIDE, OnScreen, Screen, growing


@SIZES
def test_frozen_table_stands_still_while_the_header_goes_on(
    size: tuple[int, int], on_screen: OnScreen
) -> None:
    async def play(screen: Screen) -> None:
        await screen.step(1)
        table, header = screen.table(), screen.header()
        await screen.press("space")
        await screen.step(6)
        assert screen.table() == table
        assert screen.lines()[0].startswith(" FROZEN for 10 s ")
        assert {"bold", "reverse"} <= screen.styles_of("FROZEN for 10 s")
        assert screen.header() != header
        assert "space go on" in screen.hints()
        await screen.step(62)
        assert screen.lines()[0].startswith(" FROZEN for 2m02s ")
        await screen.press("space")
        assert "FROZEN" not in screen.text()
        assert screen.table() != table

    on_screen(play, size, make=growing)


def test_filter_is_typed_in_sight_then_cleared(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("slash", "n", "g", "i", "q")
        assert screen.lines()[-2] == " filter /  ngiq"
        assert screen.hints() == "Enter keeps the filter  Escape clears it"
        await screen.press("backspace")
        assert screen.names() == ["…/nginx.service", "filter"]
        await screen.press("enter")
        assert screen.names() == ["…/nginx.service"]
        assert "filter 'ngi'" in screen.header()
        assert "Escape clear" in screen.hints()
        await screen.press("escape")
        assert len(screen.names()) == 4
        assert "filter '" not in screen.header()

    on_screen(play)


def test_escape_clears_a_filter_that_is_being_typed(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("slash", "n", "escape")
        assert len(screen.names()) == 4
        await screen.press("d")
        assert screen.names() == ["/batch/job-17"]

    on_screen(play)


@pytest.mark.parametrize(
    ("view", "cgroups", "says", "remedy"),
    [
        (View(filter="zzz"), True, "No row matches the filter 'zzz'.", "Escape clears the filter."),
        (
            View(filter="nginx", dead_only=True),
            True,
            "No removed cgroup that holds pages matches the filter 'nginx'.",
            "Escape clears the filter.",
        ),
        (View(), False, "No page was charged to a memory cgroup since the start.", ""),
    ],
)
def test_an_empty_table_says_why(
    view: View, cgroups: bool, says: str, remedy: str, on_screen: OnScreen
) -> None:
    async def play(screen: Screen) -> None:
        assert "CGROUP" not in screen.text()
        assert says in screen.text()
        assert remedy in screen.text()
        assert ALWAYS in screen.hints()
        await screen.press("enter")  # there is no row to enter
        assert says in screen.text()

    on_screen(play, make=sample.busy if cgroups else lambda _: sample.snapshot(), view=view)


def test_dead_only(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert {"bold", "magenta"} <= screen.styles_of("job-17")
        assert "magenta" not in screen.styles_of("user.slice")
        await screen.press("d")
        assert screen.names() == ["/batch/job-17"]
        assert " dead " in screen.table()[1]
        assert "dead only" in screen.header()
        await screen.press("d")
        assert len(screen.names()) == 4

    on_screen(play)


def test_a_removed_cgroup_beside_one_of_the_same_path(on_screen: OnScreen) -> None:
    """Each key shows which is which, also when one changes and then goes while the other stays."""

    def namesakes(step: int) -> Snapshot:
        old = sample.cgroup("/batch/job", (sample.site(700, 100 * step),), id=7, dead=True)
        new = sample.cgroup("/batch/job", (sample.site(80 + step),), id=8)
        return sample.snapshot(
            sample.cgroup("/web", (sample.site(500),), id=9),
            new,
            *([old] if step < 7 else []),
            time=1_780_000_000.0 + 2 * step,
        )

    def states(screen: Screen) -> list[tuple[str, str]]:
        return [tuple(line.split()[:2]) for line in screen.table()[1:]]  # type: ignore[misc]

    async def play(screen: Screen) -> None:
        live, dead, web = ("/batch/job", "online"), ("/batch/job", "dead"), ("/web", "online")
        assert states(screen) == [dead, web, live]
        await screen.step(3)
        assert states(screen) == [web, dead, live]
        await screen.press("d")
        assert states(screen) == [dead]
        await screen.step(4)
        assert "300" not in screen.table()[1]
        assert " 1.2M " in screen.table()[1], "300 pages of 4K"
        await screen.press("d", "slash", "j", "o", "b", "enter")
        assert states(screen) == [dead, live]
        await screen.press("t")
        in_tree = [word for line in screen.table() for word in line.split() if word in ("dead", "online")]
        assert in_tree == ["dead", "online"]
        await screen.press("t", "escape")
        assert states(screen) == [web, dead, live]
        await screen.press("d")
        await screen.step(7)
        assert "No removed cgroup holds pages" in screen.text()
        await screen.press("d")
        assert states(screen) == [web, live]

    on_screen(play, WIDE, make=namesakes)


def test_dead_only_without_any(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("d")
        assert "No removed cgroup holds pages" in screen.text()
        assert "d shows all cgroups again." in screen.text()

    on_screen(play, make=growing)


def test_tree(on_screen: OnScreen) -> None:
    def family(_: int) -> Snapshot:
        return sample.snapshot(
            sample.cgroup("/a/b", (sample.site(9),)),
            sample.cgroup("/z", (sample.site(5),)),
            sample.cgroup("/a", (sample.site(1),)),
            sample.cgroup("/a/b/c", (sample.site(2),)),
        )

    async def play(screen: Screen) -> None:
        assert screen.names() == ["/a/b", "/z", "/a/b/c", "/a"]
        await screen.press("t")
        assert [line[:9].rstrip() for line in screen.table()[1:]] == [
            "▾ /",
            "  ▾ a",
            "    ▾ b",
            "        c",
            "    z",
        ]
        assert "tree" in screen.header()
        await screen.press("t")
        assert screen.names() == ["/a/b", "/z", "/a/b/c", "/a"]

    on_screen(play, make=family)


def test_sort_and_reverse(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.names() == ["/web", "/cron", "/job"]
        assert "reverse" in screen.styles_of("HELD")
        await screen.press("r")
        assert screen.names() == ["/job", "/cron", "/web"]
        assert "sort held reversed" in screen.header()
        await screen.press("r")
        for key in (SortKey.GROWTH, SortKey.CHARGE, SortKey.UNCHARGE, SortKey.FAIL):
            await screen.press("s")
            assert f"[sort {key.value}]" in screen.header()
        assert "reverse" not in screen.styles_of("HELD")

    on_screen(play, WIDE, make=growing)


@pytest.mark.parametrize(
    ("by", "first"),
    [
        (GroupBy.SITE, "anon_pipe_write"),
        (GroupBy.KIND, "pipe"),
        (GroupBy.CONTAINER, "pod 8a7f2c31 containerd"),
    ],
)
def test_other_rows(by: GroupBy, first: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.table()[0].startswith(by.value.upper())
        assert screen.table()[1].startswith(first)
        await screen.press("enter")
        assert screen.lines()[0].startswith(first)
        assert "/batch/job-17" in screen.text() or by is GroupBy.CONTAINER

    on_screen(play, WIDE, view=View(by=by))
