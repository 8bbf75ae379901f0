"""What is printed fits, and a name never speaks to the terminal."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kmemtrace import text
from kmemtrace.model.enums import SiteKind
from kmemtrace.model.snapshot import FROM_BEFORE
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, View
from kmemtrace.tui import columns
from kmemtrace.tui.plain import frame
from tests.sample import busy, cgroup, site, snapshot


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (812 * 1024, "812K"),
        (1536 * 1024, "1.5M"),
        (1 << 30, "1G"),
        (1023, "1023"),
        (1 << 62, "4096P"),
    ],
)
def test_size(number: int, shown: str) -> None:
    assert text.size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (3.4e-6, "3.4µs"),
        (0.012, "12ms"),
        (1.5, "1.5s"),
        (59.6, "1m00s"),
        (67, "1m07s"),
        (11_520, "3h12m"),
        (4 * 86400 + 6 * 3600, "4d06h"),
        (float("inf"), ">4.9h"),
    ],
)
def test_duration(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


@given(st.text(), st.integers(1, 80))
def test_shortened_and_cut_fit_and_print(name: str, width: int) -> None:
    for short in (text.shortened(name, width), text.cut(name, width)):
        assert cell_len(short) <= width
        assert not any(ord(c) < 32 or ord(c) == 127 for c in short)


@given(st.integers(20, 250), st.sampled_from(list(GroupBy)), st.sampled_from(["charge", "alloc", "lifetime"]))
def test_columns_fill_the_width_and_no_more(width: int, by: GroupBy, latency: str) -> None:
    chosen = columns.columns(width, by, latency)
    assert sum(c.width for c in chosen) + len(chosen) - 1 <= max(width, 24)
    assert {c.heading for c in chosen} >= {by.value.upper()}


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_of_a_frame_is_longer_than_the_screen(width: int) -> None:
    lines = frame(busy(1), busy(0), View(), width, None).splitlines()
    assert max(map(len, lines)) <= width
    assert any("817" in line for line in lines), "what was missed is said at every width"


def test_rows_that_do_not_fit_are_counted() -> None:
    many = snapshot(*(cgroup(f"/{i}", (site(i + 1),)) for i in range(50)))
    lines = frame(many, None, View(), 80, 20).splitlines()
    assert len(lines) <= 20
    shown = sum(line.startswith("/") for line in lines)
    assert any(f"{50 - shown} more" in line for line in lines)


def test_a_hostile_name_is_harmless() -> None:
    hostile = snapshot(cgroup("/a\x1b]0;owned\x07\n[red]", (site(1),)))
    shown = frame(hostile, None, View(), 140, None)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]" in shown


@pytest.mark.parametrize(
    ("view", "says"),
    [(View(filter="zzz"), "zzz"), (View(dead_only=True), "removed"), (View(), "since the start")],
)
def test_an_empty_table_says_why(view: View, says: str) -> None:
    now = snapshot(cgroup("/a", (site(1),))) if view != View() else snapshot()
    assert says in frame(now, None, view, 140, None)


@pytest.mark.parametrize("name", ["/日本語/コンテナ", "/🐳", "/e\u0301te\u0301", "/" + "日本" * 40])
def test_a_name_of_any_width_leaves_the_columns_of_a_frame_where_they_are(name: str) -> None:
    shown = frame(snapshot(cgroup(name, (site(5),)), cgroup("/plain", (site(4),))), None, View(), 100, None)
    begins = {
        cell_len(line.partition(word)[0])
        for line in shown.splitlines()
        for word in (" STATE ", " online ")
        if word in line
    }
    assert len(begins) == 1
    assert all(cell_len(line) <= 100 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("kind", "symbol", "told"),
    [
        (SiteKind.UNKNOWN, "(unknown)", "(unknown)"),
        (SiteKind.BEFORE, FROM_BEFORE, "(from before)"),
        (SiteKind.PAGE_TABLE, FROM_BEFORE, "(from before) (page_table)"),
        (SiteKind.PIPE, "pipe_write", "pipe_write (pipe)"),
    ],
)
def test_a_site_says_what_it_is_once(kind: SiteKind, symbol: str, told: str) -> None:
    one = cgroup("/a", (site(3, kind=kind, symbol=symbol, stack=()),))
    (line,) = (line for line in frame(snapshot(one), None, View(), 200, None).splitlines() if "/a" in line)
    assert line.endswith(f" {told}")
    assert line.count(told.rsplit(maxsplit=1)[-1]) == 1


def test_nothing_is_cut_where_there_is_no_width() -> None:
    """As in a pipe or a file, which somebody searches for the name."""
    long = f"/{'very-' * 40}long"
    made = dataclasses.replace(
        snapshot(cgroup(long, (site(1, symbol="a_function_" * 9),)), cgroup("/b", (site(2),))),
        unseen=dict.fromkeys(Unseen, "a reason"),
    )
    lines = frame(made, None, View(), None, None).splitlines()
    assert not any("…" in line for line in lines)
    assert any(line.startswith(f"{long} ") and "a_function_" * 9 in line for line in lines)
    assert lines[-1].endswith(", ".join([*Unseen][-2:]))
