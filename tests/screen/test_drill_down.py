"""Behind a row: functions, stacks, what the columns have no room for, and a sparkline of what it held."""

import dataclasses

from kmemtrace.model.enums import SiteKind
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import GroupBy, SortKey, View
from tests import sample
from tests.screen.conftest import NARROW, SIZES, WIDE, OnScreen, Screen, growing

FAULT, FORK = (*sample.TABLE_STACK, "exc_page_fault+0x7"), (*sample.TABLE_STACK[:2], "copy_page_range+0x31")


def job(step: int) -> Snapshot:
    """Page tables by two stacks, pipes by one; what the pipes hold grows with each step."""
    tables = [
        sample.site(charged, 1, SiteKind.PAGE_TABLE, "pte_alloc_one", stack)
        for charged, stack in ((41, FAULT), (21, FORK))
    ]
    made = sample.cgroup("/job", (*tables, sample.site(20 + 20 * step)))
    return sample.snapshot(made, time=1_780_000_000.0 + 2 * step)


def functions(screen: Screen) -> list[str]:
    """The lines between the heading and the histograms."""
    lines = screen.lines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("FUNCTION"))
    return [" ".join(line.split()) for line in lines[begin + 1 :] if "%" in line]


def test_a_function_is_one_line_with_its_share_and_its_stacks_below(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("enter")
        assert functions(screen) == [
            "▸ pte_alloc_one (2 stacks) page_table 240K 75% 248K 76%",
            "anon_pipe_write < vfs_write < ksy… pipe 80K 25% 80K 24%",
        ]
        await screen.press("enter")
        assert functions(screen) == [
            "▾ pte_alloc_one (2 stacks) page_table 240K 75% 248K 76%",
            "__pte_alloc < handle_mm_fault < exc_page_fault 160K 50% 164K 50%",
            "copy_page_range 80K 25% 84K 26%",
            "anon_pipe_write < vfs_write < ksy… pipe 80K 25% 80K 24%",
        ]
        await screen.press("j", "enter")
        assert "exc_page_fault+0x7" in screen.text()
        await screen.press("escape", "left")
        assert len(functions(screen)) == 2
        await screen.press("down", "enter")
        assert "vfs_write+0x2d1" in screen.text(), "a single stack needs no line of its own"

    on_screen(play, NARROW, make=job)


def test_the_account_of_a_row_is_below_its_functions(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("K", "enter")
        shown = [" ".join(line.split()) for line in screen.lines()]
        begin = next(at for at, line in enumerate(shown) if line.startswith("kernel 10M"))
        assert shown[begin].startswith("kernel 10M pages 5.9M slab 3.9M per-CPU 4.5K")
        assert "unexplained 7" in shown[begin]
        assert shown[begin + 1] == "844K sockets' buffers, which are not in the kernel's sum"
        assert shown[begin + 2] == "3.8M dentry (20,003 objects, reclaimable)"
        assert shown[begin + 3] == "49K filp (211 objects)"

    on_screen(play, NARROW, make=sample.counted)


def test_what_is_open_and_the_cursor_stay_while_functions_change_places(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("enter", "enter", "down")
        await screen.step(9)
        lines = functions(screen)
        assert [line.split()[0] for line in lines] == [
            "anon_pipe_write",
            "▾",
            "__pte_alloc",
            "copy_page_range",
        ]
        assert "reverse" in screen.styles_of("__pte_alloc <")

    on_screen(play, WIDE, make=job)


def test_a_sparkline_of_what_it_held(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("enter")
        assert "▁" not in screen.text(), "one frame is no trend"
        for step in (1, 3, 4, 7):
            await screen.step(step)
        assert screen.lines()[2] == "held ▁▂▄▅█ 320K to 880K in 14s"
        await screen.press("space")
        await screen.step(30)
        assert screen.lines()[2] == "held ▁▂▄▅█ 320K to 880K in 14s", "frozen is frozen"

    on_screen(play, NARROW, make=job)


def test_a_row_of_call_sites_says_in_which_cgroup(on_screen: OnScreen) -> None:
    def two(_: int) -> Snapshot:
        return sample.snapshot(
            *(
                sample.cgroup(path, (sample.site(n),))
                for path, n in (("/system.slice/a.service", 9), ("/b", 3))
            )
        )

    async def play(screen: Screen) -> None:
        await screen.press("enter")
        (_, first, second) = functions(screen)
        assert first.startswith("/system.slice/a.service vfs_write < ksys_write")
        assert second.startswith("/b vfs_write")

    on_screen(play, WIDE, make=two, view=View(by=GroupBy.KIND))


def test_the_title_of_a_removed_one_stands_out(on_screen: OnScreen) -> None:
    def dying(step: int) -> Snapshot:
        now = job(0)
        dead = dataclasses.replace(sample.cgroup("/job", now.cgroups[0].sites, dead=True), reparented_to="/")
        return now if step == 0 else dataclasses.replace(now, cgroups=(dead,))

    async def play(screen: Screen) -> None:
        await screen.press("enter")
        assert "online" in screen.lines()[1]
        await screen.step(1)
        assert "color(5)" in screen.styles_of("/job")
        assert screen.lines()[1].startswith("holds 320K  dead  counted to / since its removal")

    on_screen(play, NARROW, make=dying)


def test_the_objects_of_a_row_by_cache_and_function(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.step(1)
        await screen.press("enter")
        lines = screen.lines()
        begin = next(at for at, line in enumerate(lines) if line.startswith("objects since the start"))
        assert lines[begin : begin + 3] == [
            "objects since the start: 4,015 held  784K  5/s charged  2 refused at a limit",
            "   783K  dentry < __d_alloc (4,008 held, +5/s)",
            "   1.6K  filp < alloc_empty_file (7 held, 2 refused)",
        ]

    on_screen(play, (80, 40), make=sample.followed)


def test_without_objects_nothing_is_said_of_them(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("enter")
        assert "objects since the start" not in screen.text()

    on_screen(play, (80, 40), make=sample.counted)


def test_a_slab_cache_is_told_by_cgroup(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        heading, first, second = (line.split() for line in screen.table())
        assert heading == ["CACHE", "SLAB", "OBJECTS", "OBJ", "HELD", "OBJ/s", "OBJ", "FREE/s"]
        assert first[:3] == ["dentry", "7.6M", "40,006"]
        assert second[0] == "filp"
        await screen.press("T", "r")
        assert screen.table()[1].startswith("filp")
        await screen.press("enter")
        assert screen.lines()[:2] == ["filp", "holds 99K in 422 objects  online"]
        assert "49K  /system.slice/nginx.service (211 objects)" in screen.text()

    on_screen(play, (80, 40), make=sample.followed, view=View(by=GroupBy.CACHE, sort=SortKey.SLAB))


@SIZES
def test_drill_down_to_a_stack_and_back(size: tuple[int, int], on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        main = screen.lines()
        await screen.press("enter")
        assert screen.lines()[0].endswith("4f2a.scope")
        assert "anon_pipe_write" in screen.text()
        assert "pte_alloc_one" in screen.text()
        assert "lifetime: 100 timed" in screen.text()
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
