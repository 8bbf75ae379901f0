"""The keys that hands know from other tools: sorting, folding, intervals, counting from now."""

import dataclasses

import pytest

from kmemtrace.model.enums import MismatchClass
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import GroupBy, View
from tests import sample
from tests.screen.conftest import NARROW, WIDE, OnScreen, Screen


def family(step: int) -> Snapshot:
    """A slice of twelve services, and two others."""
    services = [sample.cgroup(f"/s.slice/{i:02}.service", (sample.site(10 + i),)) for i in range(12)]
    others = [
        sample.cgroup("/x/y/job", (sample.site(50 + step),), dead=True),
        sample.cgroup("/z", (sample.site(3),)),
    ]
    return sample.snapshot(*services, *others, time=1_780_000_000.0 + 2 * step)


def tree(screen: Screen) -> list[str]:
    """Mark, name and number of each row."""
    return [line[:16].rstrip() for line in screen.table()[1:]]


def held(screen: Screen) -> list[str]:
    at = screen.table()[0].index("HELD") + 4
    return [line[at - 6 : at].strip() for line in screen.table()[1:]]


FOLDED = ["▾ /", "  ▸ s.slice (12)", "  ▾ x", "    ▾ y", "        job", "    z"]


@pytest.mark.parametrize(
    ("opening", "closing"), [("right", "left"), ("plus", "minus"), ("l", "h")], ids=["arrows", "+-", "vi"]
)
def test_the_tree_folds(opening: str, closing: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("t")
        assert tree(screen) == FOLDED, "what has room is open"
        assert held(screen) == ["0", "744K", "0", "0", "200K", "12K"]
        await screen.press("down", opening)
        assert tree(screen)[:4] == ["▾ /", "  ▾ s.slice", "      11.service", "      10.service"]
        assert held(screen)[:3] == ["0", "0", "84K"]
        await screen.press(opening)
        assert "reverse" in screen.styles_of("11.service"), "a further step goes in"
        await screen.press(closing)
        assert "reverse" in screen.styles_of("s.slice"), "and back to the parent"
        await screen.press(closing)
        assert tree(screen) == FOLDED
        await screen.press(closing, closing)
        assert tree(screen) == ["▸ / (17)"]
        assert held(screen) == ["956K"]
        assert " 1 dead " in screen.table()[1]

    on_screen(play, (80, 13), make=family)


def test_all_of_the_tree_opens_and_closes(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("t", "asterisk")
        assert len(tree(screen)) == 18
        await screen.press("asterisk")
        assert tree(screen) == ["▾ /", "  ▸ s.slice (12)", "  ▸ x (2)", "    z"]

    on_screen(play, (80, 30), make=family)


def test_behind_a_closed_parent_is_its_whole_subtree(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("t", "down", "enter")
        assert screen.lines()[0] == "/s.slice"
        assert screen.lines()[1].startswith("holds 744K  with 12 cgroups below")
        await screen.press("enter")
        assert "Held in" in screen.text()
        assert "84K  /s.slice/11.service" in screen.text()

    on_screen(play, (80, 13), make=family)


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("G", "growth"),
        ("C", "charge"),
        ("U", "uncharge"),
        ("F", "fail"),
        ("O", "oldest"),
        ("5", "p50"),
        ("9", "p99"),
        ("M", "mismatch"),
        ("N", "cgroup"),
        ("A", "charged"),
        ("Z", "uncharged"),
    ],
)
def test_a_key_sorts_by_its_column(key: str, title: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press(key)
        assert f"[sort {title}]" in screen.header()
        await screen.press(key)
        assert f"[sort {title} reversed]" in screen.header()
        await screen.press("H")
        assert "[sort held]" in screen.header()

    on_screen(play, WIDE)


def test_the_cycle_is_of_the_columns_on_the_screen(on_screen: OnScreen) -> None:
    """At 80 columns: CGROUP, HELD, GROWTH, CHARGE/s, OLDEST."""

    async def play(screen: Screen) -> None:
        seen = []
        for key in ("s", "greater_than_sign", "s", "s", "s", "less_than_sign", "less_than_sign"):
            await screen.press(key)
            seen.append(screen.header().partition("[sort ")[2].partition("]")[0])
        assert seen == ["growth", "charge", "oldest", "cgroup", "held", "cgroup", "oldest"]

    on_screen(play, NARROW)


def test_a_click_on_a_heading_sorts_and_another_reverses(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        at = screen.table()[0].index("CHARGE/s") + 3
        await screen.click(at, 3)
        assert "[sort charge]" in screen.header()
        assert "reverse" in screen.styles_of("CHARGE/s")
        await screen.click(at, 3)
        assert "[sort charge reversed]" in screen.header()
        await screen.click(screen.table()[0].index("TOP SITE"), 3)
        assert "[sort charge reversed]" in screen.header()

    on_screen(play, NARROW)


@pytest.mark.parametrize(("by", "key"), [(GroupBy.KIND, "O"), (GroupBy.SITE, "9"), (GroupBy.SITE, "M")])
def test_a_column_that_such_rows_do_not_have_sorts_nothing(
    by: GroupBy, key: str, on_screen: OnScreen
) -> None:
    async def play(screen: Screen) -> None:
        await screen.press(key)
        assert "[sort held]" in screen.header()

    on_screen(play, view=View(by=by))


def test_j_and_k_move(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        first = screen.selected()
        await screen.press("j", "j", "k")
        second = screen.selected()
        assert second != first
        await screen.press("up", "down")
        assert screen.selected() == second
        await screen.press("slash", "j", "k")
        assert " filter /  jk" in screen.text(), "while the filter is typed they are letters"

    on_screen(play)


def test_plus_and_minus_change_the_interval(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert "every 3600s" in screen.header()
        await screen.press("minus")
        assert "every 300s" in screen.header()
        await screen.press("minus", "minus", "plus")
        assert "every 60s" in screen.header()
        await screen.press("t", "left_square_bracket")
        assert "every 30s" in screen.header(), "in the tree + and - fold"

    on_screen(play, WIDE)


def test_counting_from_now(on_screen: OnScreen) -> None:
    def row(screen: Screen) -> list[str]:
        return next(line for line in screen.table() if "pod 8a7f" in line).split()[4:]

    async def play(screen: Screen) -> None:
        assert "counted for" not in screen.header()
        await screen.step(2)
        await screen.press("c")
        assert "counted for 0.0µs" in screen.header()
        await screen.step(7)
        assert "counted for 10s" in screen.header()
        # Held, growth, the rates, failures a second; then what was charged and uncharged since then.
        assert row(screen)[1:6] == ["5.9M", "0", "500", "500", "0.5"]
        assert row(screen)[10:12] == ["5,000", "5,000"]
        await screen.press("enter")
        assert "5.9M" in screen.lines()[1]
        assert "20M 100%" in " ".join(screen.text().split())
        await screen.press("escape", "escape")
        assert "counted for" not in screen.header()
        assert row(screen)[10:12] == ["47,311", "45,800"]

    on_screen(play, (220, 40))


def test_a_filter_is_cleared_before_the_baseline(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("c", "slash", "n", "g", "enter")
        assert "counted for" in screen.header()
        await screen.press("escape")
        assert "filter '" not in screen.header()
        assert "counted for" in screen.header()
        await screen.press("escape")
        assert "counted for" not in screen.header()

    on_screen(play, WIDE)


def test_ctrl_z_is_the_shells(on_screen: OnScreen, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is a test of the terminal; here: it is bound, over whatever screen."""
    called: list[str] = []

    async def play(screen: Screen) -> None:
        monkeypatch.setattr(screen.app, "action_suspend_process", lambda: called.append("suspended"))
        await screen.press("ctrl+z", "question_mark", "ctrl+z")
        assert called == ["suspended"] * 2

    on_screen(play)


@pytest.mark.parametrize(
    "name",
    ["/日本語/コンテナ", "/emoji-🐳-box", "/e\u0301te\u0301", "/" + "日本" * 40],
    ids=["cjk", "emoji", "marks", "long"],
)
@pytest.mark.parametrize("in_tree", [False, True])
def test_names_of_any_width_leave_the_columns_where_they_are(
    name: str, in_tree: bool, on_screen: OnScreen
) -> None:
    held = {name: 5, "/plain": 4}

    def odd(_: int) -> Snapshot:
        return sample.snapshot(*(sample.cgroup(path, (sample.site(n),)) for path, n in held.items()))

    async def play(screen: Screen) -> None:
        if in_tree:
            await screen.press("t", "asterisk")
        ends = {screen.end_of("20K"), screen.end_of("16K")}
        assert ends == {screen.end_of("HELD")}

    on_screen(play, make=odd)


def test_colours_say_what_words_and_signs_say(on_screen: OnScreen) -> None:
    def news(step: int) -> Snapshot:
        web = sample.cgroup("/web", (sample.site(50 + 10 * step),), failed=3 * step)
        job = sample.cgroup("/job", (sample.site(40 - 5 * step),), dead=True)
        last = sample.cgroup("/last", (sample.site(1),))
        broken = {MismatchClass.LOST_UNCHARGE: 7}
        bad = dataclasses.replace(sample.cgroup("/bad", (sample.site(9),)), mismatches=broken)
        return dataclasses.replace(
            sample.snapshot(web, job, bad, last, time=1_780_000_000.0 + 2 * step),
            mismatches=(sample.mismatch(),),
        )

    async def play(screen: Screen) -> None:
        await screen.press("end")
        await screen.step(1)
        assert "red" in screen.styles_of("+40K")
        assert "green" in screen.styles_of("-20K")
        assert "magenta" in screen.styles_of("job")
        assert "red" in screen.styles_of("1.5 "), "charges that failed"
        assert {"white", "red"} <= screen.styles_of("7 anon_pipe")
        assert {"color(7)", "color(1)"} <= screen.styles_of("MISMATCHES 3 certain")
        assert {"color(0)", "color(3)"} <= screen.styles_of("missed 817")

    on_screen(play, WIDE, make=news)


def test_no_color_leaves_the_words(on_screen: OnScreen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def play(screen: Screen) -> None:
        assert "bold" in screen.styles_of("dead ")
        assert "bold" in screen.styles_of("missed 817")
        assert not screen.colours()

    on_screen(play, WIDE)


def test_the_account_is_taken_anew_by_a_key(on_screen: OnScreen) -> None:
    asked: list[int] = []

    async def play(screen: Screen) -> None:
        assert "kernel 15M" in screen.header()
        assert "census 12s ago" in screen.header()
        screen.app.take_census = lambda: asked.append(1)
        await screen.press("a")

    on_screen(play, make=sample.counted)
    assert asked == [1]
