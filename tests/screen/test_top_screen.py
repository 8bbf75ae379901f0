"""What the user of `kmemtrace top` reads after each key."""

import dataclasses
import threading
import time

import pytest

from kmemtrace.errors import CannotError
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Mismatch, Snapshot
from kmemtrace.model.view import GroupBy, SortKey, View
from kmemtrace.tui.app import TopApp
from tests import sample
from tests.screen.conftest import NARROW, WIDE, OnScreen, Screen

SIZES = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "140x40"])
ALWAYS = "? help  q quit"


def names(screen: Screen) -> list[str]:
    """First words of the table's rows."""
    return [line.split()[0] for line in screen.table()[1:]]


def with_losses(**changes: object) -> Snapshot:
    now = sample.busy()
    return dataclasses.replace(now, losses=dataclasses.replace(now.losses, **changes))  # type: ignore[arg-type]


NO_LOSSES = {"recursion_misses": {}, "healed": 0, "swept": 0}


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


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "missed 817  map full 0  healed 419  swept 35  |  pages 2%"),
        (80, "missed 817  map full 0  healed 419  swept 35  |  fullest map pages 2%"),
        (
            140,
            "missed 817  map full 0  healed 419  swept 35  |  maps: pages 2%  cgroups 0%  sites 0%",
        ),
    ],
)
def test_losses_come_first_and_the_fullest_map_next(width: int, line: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2] == line

    on_screen(play, (width, 24))


@pytest.mark.parametrize(
    ("losses", "words", "stands_out"),
    [
        (NO_LOSSES, "missed 0  map full 0", False),
        ({**NO_LOSSES, "recursion_misses": {"page_free": 1}}, "missed 1  map full 0", True),
        ({**NO_LOSSES, "map_full": {"pages": 3}}, "missed 0  map full 3 (pages)", True),
        ({**NO_LOSSES, "healed": 9}, "missed 0  map full 0  healed 9", False),
    ],
)
def test_losses_stand_out(
    losses: dict[str, object], words: str, stands_out: bool, on_screen: OnScreen
) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2].startswith(words)
        assert ("bold" in screen.styles_of(words)) is stands_out

    on_screen(play, make=lambda _: with_losses(**losses))


def test_losses_that_the_kernel_does_not_count(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2].startswith("missed ?  map full 0")

    on_screen(play, make=lambda _: with_losses(recursion_misses=None))


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


def growing(step: int) -> Snapshot:
    """The job holds more with each step: from step 1 on, the most of all."""
    return sample.snapshot(
        sample.cgroup("/job", (sample.site(100 + 900 * step),)),
        sample.cgroup("/web", (sample.site(500 + 7 * step),)),
        sample.cgroup("/cron", (sample.site(300),)),
        time=1_780_000_000.0 + 2 * step,
    )


def test_filter_is_typed_in_sight_then_cleared(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("slash", "n", "g", "i", "q")
        assert screen.lines()[-2] == " filter /  ngiq"
        assert screen.hints() == "Enter keeps the filter  Escape clears it"
        await screen.press("backspace")
        assert names(screen) == ["…/nginx.service", "filter"]
        await screen.press("enter")
        assert names(screen) == ["…/nginx.service"]
        assert "filter 'ngi'" in screen.header()
        assert "Escape clear" in screen.hints()
        await screen.press("escape")
        assert len(names(screen)) == 4
        assert "filter '" not in screen.header()

    on_screen(play)


def test_escape_clears_a_filter_that_is_being_typed(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("slash", "n", "escape")
        assert len(names(screen)) == 4
        await screen.press("d")
        assert names(screen) == ["/batch/job-17"]

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
        assert names(screen) == ["/batch/job-17"]
        assert " dead " in screen.table()[1]
        assert "dead only" in screen.header()
        await screen.press("d")
        assert len(names(screen)) == 4

    on_screen(play)


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
        assert names(screen) == ["/a/b", "/z", "/a/b/c", "/a"]
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
        assert names(screen) == ["/a/b", "/z", "/a/b/c", "/a"]

    on_screen(play, make=family)


def test_sort_and_reverse(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert names(screen) == ["/web", "/cron", "/job"]
        assert "reverse" in screen.styles_of("HELD")
        await screen.press("r")
        assert names(screen) == ["/job", "/cron", "/web"]
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


@SIZES
def test_drill_down_to_a_stack_and_back(size: tuple[int, int], on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        main = screen.lines()
        await screen.press("enter")
        assert screen.lines()[0].endswith("4f2a.scope")
        assert "anon_pipe_write" in screen.text()
        assert "pte_alloc_one" in screen.text()
        assert "lifetime: 100 ended" in screen.text()
        await screen.press("s")  # the table's keys mean nothing here
        await screen.press("down", "enter")
        assert screen.lines()[0] == "pte_alloc_one  (page_table)"
        assert [line.strip() for line in screen.lines()[2:6]] == list(sample.TABLE_STACK)
        assert max(map(len, screen.lines())) <= size[0]
        await screen.press("escape", "backspace")
        assert screen.lines() == main

    on_screen(play, size)


def test_the_drill_down_tells_what_the_columns_cannot(on_screen: OnScreen) -> None:
    def stalled(_: int) -> Snapshot:
        job = dataclasses.replace(
            sample.cgroup("/job", (sample.site(10, 3),), failed=8, dead=True),
            failed_by_errno={"ENOMEM": 7, "EINTR": 1},
            reclaim_stalls=1013,
            reclaim_stall_seconds=2.5,
            explicit_pages=844,
            reparented_to="/",
            latency={"charge": Histogram.of([700] * 90 + [5_000_000] * 10)},
        )
        return sample.snapshot(job)

    async def play(screen: Screen) -> None:
        assert "P99" in screen.table()[0]
        assert "LIFE" not in screen.table()[0]
        await screen.press("enter")
        for fact in (
            "7 charges failed with ENOMEM",
            "1,013 reclaim stalls, 2.5s in all",
            "844 pages charged outside the allocator",
            "counted to / since its removal",
            "charge: 100 timed",
        ):
            assert fact in screen.text()

    on_screen(play, (200, 40), make=stalled)


def test_call_sites_follow_the_counting_until_their_cgroup_is_gone(on_screen: OnScreen) -> None:
    def fading(step: int) -> Snapshot:
        return growing(step) if step < 2 else sample.snapshot(time=growing(step).time)

    async def play(screen: Screen) -> None:
        await screen.press("end", "enter")
        assert screen.lines()[0] == "/job"
        assert "400K" in screen.text()
        await screen.step(1)
        assert "3.9M" in screen.text()
        await screen.step(2)
        assert screen.lines()[0] == "/job"
        assert "GONE  it holds nothing any more; when last seen, 2.0s ago, it held 3.9M" in screen.lines()[1]
        assert "anon_pipe_write" in screen.text()
        await screen.step(3)
        assert "when last seen, 4.0s ago, it held 3.9M" in screen.lines()[1]
        await screen.press("escape")
        assert "No page was charged" in screen.text()

    on_screen(play, make=fading)


def test_stack_that_was_not_recorded(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("enter", "enter")
        assert "The stack was not recorded" in screen.text()

    unknown = sample.cgroup("/a", (sample.site(3, symbol="(unknown)", stack=()),))
    on_screen(play, make=lambda _: sample.snapshot(unknown))


def test_cursor_stays_on_its_row_while_rows_change_places(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert names(screen) == ["/web", "/cron", "/job"]
        await screen.press("down")
        assert "reverse" in screen.styles_of("/cron")
        await screen.step(1)
        assert names(screen) == ["/job", "/web", "/cron"]
        assert "reverse" in screen.styles_of("/cron")
        assert "reverse" not in screen.styles_of("/web")

    on_screen(play, make=growing)


def test_cursor_that_was_not_moved_marks_the_first_row(on_screen: OnScreen) -> None:
    """Or the view would scroll after a row that nobody chose."""

    async def play(screen: Screen) -> None:
        assert "reverse" in screen.styles_of("/web")
        await screen.step(1)
        assert "reverse" in screen.styles_of("/job")

    on_screen(play, make=growing)


def test_cursor_whose_row_is_gone_stays_at_its_place(on_screen: OnScreen) -> None:
    def shrinking(step: int) -> Snapshot:
        left = [c for c in growing(0).cgroups if step == 0 or c.path != "/cron"]
        return sample.snapshot(*left)

    async def play(screen: Screen) -> None:
        await screen.press("down")
        await screen.step(1)
        assert names(screen) == ["/web", "/job"]
        assert "reverse" in screen.styles_of("/job")

    on_screen(play, make=shrinking)


def crowd(step: int) -> Snapshot:
    """2,000 cgroups; the last of them holds the most from step 1 on."""
    pages = [9000 - i for i in range(1999)] + [9 if step == 0 else 9999]
    found = [sample.cgroup(f"/pod/{i:04}", (sample.site(n),), id=i + 1) for i, n in enumerate(pages)]
    return sample.snapshot(*found)


def test_two_thousand_cgroups_are_within_reach(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert names(screen) == [f"/pod/{i:04}" for i in range(19)]
        await screen.press("pagedown")
        assert screen.selected() == "0:20"
        await screen.press("end")
        assert names(screen)[-1] == "/pod/1999"
        assert screen.selected() == "0:2000"
        await screen.step(1)
        assert names(screen)[0] == "/pod/1999", "a cursor that could be seen still can"
        assert "reverse" in screen.styles_of("/pod/1999")
        await screen.press("home", "up")
        assert names(screen)[0] == "/pod/1999"
        await screen.press("slash", *"1234", "enter")
        assert names(screen) == ["/pod/1234"]

    on_screen(play, make=crowd)


def test_help_and_back(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        main = screen.lines()
        await screen.press("question_mark")
        for words in (
            "freeze the table",
            "HELD",
            "quit; nothing stays",
            "healed",
            "map full",
            "objects of the slab",
        ):
            assert words in screen.text()
        await screen.press("escape")
        assert screen.lines() == main

    on_screen(play, (100, 80))


def shown(screen: Screen) -> list[str]:
    """The page, without hints and scrollbar."""
    return [line[:76].rstrip() for line in screen.lines()[:-1]]


def test_help_scrolls_by_arrows_and_as_in_vi(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("question_mark")
        begin = shown(screen)
        await screen.press("j", "j")
        assert shown(screen)[:-2] == begin[2:]
        await screen.press("k", "up")
        assert shown(screen) == begin

    on_screen(play, NARROW)


def test_without_a_mismatch_the_screen_says_what_was_looked_for(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert "MISMATCHES" not in screen.text()
        await screen.press("m")
        shown = screen.text()
        assert "None was found." in shown
        assert "12,345  root" in shown
        assert "lost_uncharge:" in shown
        assert "its end is not seen" in shown
        assert "Enter" not in screen.lines()[-1]
        await screen.press("m")
        assert "CGROUP" in screen.text()

    on_screen(play)


def found(*mismatches: Mismatch) -> Snapshot:
    return dataclasses.replace(sample.busy(), mismatches=mismatches)


def test_a_mismatch_is_in_the_header_and_its_evidence_behind_enter(
    on_screen: OnScreen,
) -> None:
    suspect = sample.mismatch(
        mismatch_class="lost_uncharge", confidence="suspect", missed_events=17, count=1, free_stack=()
    )

    async def play(screen: Screen) -> None:
        assert screen.lines()[1].startswith("MISMATCHES 3 certain, 1 suspect  held 10M")
        await screen.press("m")
        table = [line.split() for line in screen.lines() if line.startswith(("CLASS", "wrong", "lost"))]
        assert [row[:4] for row in table] == [
            ["CLASS", "SURE", "TIMES", "LAST"],
            ["wrong_cgroup", "certain", "3", "3.0s"],
            ["lost_uncharge", "suspect", "1", "3.0s"],
        ]
        assert "Enter evidence" in screen.lines()[-1]
        await screen.press("enter")
        shown = screen.text()
        assert "wrong_cgroup: certain, 3 times" in shown
        assert "uncharged from /system.slice/nginx.service" in shown
        assert "the last: page 0xffffea0004002180, order 0 by nginx (811)" in shown
        assert "seen: freed, order 0, its mark naming another owner" in shown
        assert "anon_pipe_write+0x18e" in shown
        assert "free_pipe_info+0x5d" in shown
        await screen.press("escape", "down", "enter")
        assert "17 events were missed meanwhile, which could explain it" in screen.text()
        await screen.press("escape", "escape")
        assert "CGROUP" in screen.text()

    on_screen(play, make=lambda _: found(sample.mismatch(), suspect))


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


def test_resizing_chooses_columns_and_hints_anew(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.resize(140, 40)
        assert "LIFE P99" in screen.table()[0]
        assert "m mismatches" in screen.hints()
        await screen.resize(80, 24)
        assert "LIFE P99" not in screen.table()[0]
        assert max(map(len, screen.lines())) <= 80

    on_screen(play)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting(key: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.app.is_running
        await screen.press("question_mark", key)
        assert not screen.app.is_running

    on_screen(play)


class Headless(TopApp):
    """On no terminal, as the tests have none."""

    def run(self, **_: object) -> None:
        super().run(headless=True, size=(80, 24))


@pytest.mark.parametrize("error", [CannotError("The kernel took it back."), OSError(5, "EIO")])
def test_an_error_of_the_source_ends_the_view_and_is_raised(error: Exception) -> None:
    snapshots = iter([sample.busy()])

    def source() -> Snapshot:
        for snapshot in snapshots:
            return snapshot
        raise error

    with pytest.raises(type(error)) as raised:
        Headless(source, 0.01, View()).run_to_end()
    assert raised.value is error
    assert "snapshots" not in [thread.name for thread in threading.enumerate()]


def test_it_ends_when_its_time_is_up() -> None:
    begin = time.monotonic()
    Headless(sample.busy, 0.05, View(), duration=0.5).run_to_end()
    assert 0.5 <= time.monotonic() - begin < 10
