"""The page in a real browser: drawn, dragged over, searched, compared; no error, and nothing asked for."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from kmemtrace.history.history import read
from kmemtrace.history.page import page as written
from tests.history.recorded import SAMPLE, machine, record
from tests.history.test_page import of_hostile_names
from tests.sample import snapshot

Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a recording's page; at the end nothing was wrong in it, and nothing was asked for."""
    wrong: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_(folder: Path = SAMPLE, theme: str = "light", bins: int = 240) -> Page:
        file = tmp_path / "page.html"
        file.write_text(written(read(folder, bins)), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": 1280, "height": 800},
            color_scheme="dark" if theme == "dark" else "light",
        )
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: wrong.append(message.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        shown.goto(file.as_uri())
        shown.wait_for_selector("body[data-drawn=yes]", state="attached")
        return shown

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


def frames(shown: Page) -> dict[str, float]:
    """The functions of the flame graph, with the widths that all of each have together."""
    found: dict[str, float] = {}
    for name, width in shown.eval_on_selector_all(
        "#flame g.frame", "all => all.map(g => [g.getAttribute('name'), Number(g.getAttribute('width'))])"
    ):
        found[name] = found.get(name, 0) + width
    return found


def drag(shown: Page, begin: float, end: float) -> None:
    """Over the chart, from one part of its width to another."""
    shown.locator("#chart .u-over").scroll_into_view_if_needed()
    box = shown.locator("#chart .u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    shown.mouse.move(box["x"] + begin * box["width"], y)
    shown.mouse.down()
    shown.mouse.move(box["x"] + (begin + end) / 2 * box["width"], y, steps=3)
    shown.mouse.move(box["x"] + end * box["width"], y, steps=3)
    shown.mouse.up()


def colors(shown: Page, what: str) -> int:
    """How many colours a canvas has."""
    script = """canvas => {
        const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(all.buffer)).size;
    }"""
    found: int = shown.eval_on_selector(what, script)
    return found


def test_it_is_drawn(opened: Open) -> None:
    shown = opened()
    assert colors(shown, "#chart canvas") > 4, "an area of each of three cgroups, and the grid"
    assert colors(shown, "#heat canvas") > 4
    assert shown.locator("#chart .u-series").count() == 4
    assert {"all", "/shop/web", "/shop/db", "anon_pipe_write"} <= frames(shown).keys()
    assert shown.locator("#rows tr").count() == 3
    assert "81 events" in shown.inner_text("#losses")
    assert "/shop/batch" in shown.inner_text("#dead")


def test_a_dragged_range_changes_the_flame_graph_and_the_rest(opened: Open) -> None:
    shown = opened()
    whole, rows, range_ = frames(shown), shown.inner_text("#rows"), shown.inner_text("#range")
    drag(shown, 0.1, 0.3)
    assert shown.inner_text("#range") != range_
    part = frames(shown)
    assert part != whole
    assert part["/shop/batch"] > whole["/shop/batch"], "it held all of its pages early"
    assert shown.inner_text("#rows") != rows
    box = shown.locator("#chart .u-select").bounding_box()
    assert box is not None
    assert box["width"] > 100
    shown.click("#whole")
    assert frames(shown) == whole
    assert shown.inner_text("#range") == range_
    drag(shown, 0.5, 0.6)
    shown.dblclick("#chart .u-over")
    assert shown.inner_text("#range") == range_


def test_a_range_by_the_keyboard(opened: Open) -> None:
    shown = opened()
    before = shown.inner_text("#range")
    shown.focus("#to")
    shown.keyboard.press("ArrowLeft")
    assert shown.inner_text("#range") < before


def test_two_ranges_are_compared(opened: Open) -> None:
    shown = opened()
    drag(shown, 0.1, 0.3)
    shown.click("#keep")
    assert "red is more" in shown.inner_text("#compared")
    drag(shown, 0.7, 0.9)
    fills = dict(
        shown.eval_on_selector_all(
            "#flame g.frame",
            "all => all.map(g => [g.getAttribute('name'), g.querySelector('rect').getAttribute('fill')])",
        )
    )
    red, blue, green = map(int, re.findall(r"\d+", fills["/shop/web"]))
    assert red == 255 > max(green, blue), "it grew"
    assert fills["/shop/batch"] == "rgb(215,215,215)", "it did not"
    shown.locator("#flame g.frame[name='/shop/web']").hover()
    assert " in A" in shown.inner_text(".d3-flame-graph-tip")
    shown.click("#forget")
    assert shown.inner_text("#compared") == ""


def test_a_function_is_searched(opened: Open) -> None:
    shown = opened()
    shown.fill("#search", "PIPE_resize")
    found = shown.inner_text("#found")
    assert re.fullmatch(r"2\.4M of 17M, 1[34]\.\d%", found)
    marked = shown.eval_on_selector_all(
        "#flame g.frame rect[fill='#e600e6']", "all => all.map(r => r.parentNode.getAttribute('name'))"
    )
    assert set(marked) == {"pipe_resize_ring"}
    shown.fill("#search", "(")
    shown.fill("#search", "")
    assert shown.inner_text("#found") == ""
    assert shown.locator("#flame g.frame rect[fill='#e600e6']").count() == 0


def test_a_cgroup_is_chosen(opened: Open) -> None:
    shown = opened()
    shown.select_option("#group", label="/shop/db")
    assert shown.locator("#chart .u-series").count() == 2
    assert "unix_stream_sendmsg" in frames(shown)
    assert "pipe_fcntl" not in frames(shown)
    shown.click("#rows button:has-text('/shop/web')")
    assert "unix_stream_sendmsg" not in frames(shown)
    assert shown.eval_on_selector("#group", "s => s.selectedOptions[0].text") == "/shop/web"


def test_each_of_what_can_be_shown_is_drawn(opened: Open) -> None:
    shown = opened()
    for by in ("cgroup", "kind", "site", "cache"):
        for measure in ("held", "charged"):
            shown.select_option("#by", by)
            shown.select_option("#measure", measure)
            if (by, measure) == ("cache", "charged"):
                assert "no census tells" in shown.inner_text("#chart")
            else:
                assert colors(shown, "#chart canvas") > 3
    shown.select_option("#by", "site")
    assert "sock_alloc_send_pskb (unix_socket)" in shown.inner_text("#chart")
    shown.select_option("#value", "charged")
    assert frames(shown)["/shop/db"] > frames(shown)["/shop/web"]
    shown.uncheck("#split")
    assert "/shop/db" not in frames(shown)


def test_light_and_dark(opened: Open) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = opened(), opened(theme="dark")
    by_system = light.evaluate(background), dark.evaluate(background)
    assert by_system == ("rgb(255, 255, 255)", "rgb(21, 24, 28)")
    light.click("#theme")
    dark.click("#theme")
    assert (dark.evaluate(background), light.evaluate(background)) == by_system


def test_it_fits_and_prints(opened: Open) -> None:
    shown = opened()
    for width in (1024, 1440):
        shown.set_viewport_size({"width": width, "height": 700})
        shown.wait_for_timeout(300)  # it draws anew when the window has come to rest
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.pdf().startswith(b"%PDF")


def test_several_runs_and_findings(opened: Open, tmp_path: Path) -> None:
    for seed in (1, 2):
        record(tmp_path / "r", islice(machine(seed), 20))
    shown = opened(tmp_path / "r", bins=20)
    assert colors(shown, "#chart canvas") > 6
    assert shown.locator("#mismatches pre").count() == 6
    drag(shown, 0.4, 0.6)


def test_hostile_names_do_nothing(opened: Open, tmp_path: Path) -> None:
    record(tmp_path / "r", [of_hostile_names()])
    shown = opened(tmp_path / "r")
    assert shown.locator("#mismatches pre").count() == 9
    assert shown.locator("script").count() == 5
    for one in shown.locator("#flame g.frame").all()[:6]:
        one.hover()
    shown.fill("#search", "<script>")
    assert shown.locator("#flame g.frame rect[fill='#e600e6']").count() > 0


def test_a_recording_without_any_charge(opened: Open, tmp_path: Path) -> None:
    record(tmp_path / "r", [snapshot()])
    shown = opened(tmp_path / "r")
    assert "There is nothing to draw" in shown.inner_text("#chart")
    assert "Nothing in this range" in shown.inner_text("#flame")
