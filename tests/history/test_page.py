"""The page of `kmemtrace report --html` as it is written: what names do in it, what it may, its size."""

import dataclasses
import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.history.history import read
from kmemtrace.history.page import WEB, page
from kmemtrace.history.page_data import page_data
from kmemtrace.model.enums import CgroupState, SiteKind
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.recording.reader import snapshots
from tests.history.recorded import SAMPLE, machine, record
from tests.history.test_report import report
from tests.sample import cgroup, mismatch, site, snapshot

HOSTILE = (
    "/</script><script>alert(1)</script>",
    "/<!--<script>",
    "/\"'><img src=x onerror=alert(2)>",
    "/{{ 7*7 }}{% raw %}",
    "/\x1b]0;title\x07\x1b[2J",
    "/a\u2028b\u2029c",
    "/&lt;b&gt; &amp; \\u003c",
    "/</textarea></style></title><svg onload=alert(3)>",
    "/javascript:alert(4)",
)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"


def data_of(text: str) -> Any:
    return json.loads(Elements(text).scripts[0])


def hostile(number: int, name: str) -> Cgroup:
    """A removed one, whose stack, label and parent are as hostile."""
    of = cgroup(name, (site(number + 5, stack=(f"{name}+0x1",), symbol=name),), id=number + 1, dead=True)
    return dataclasses.replace(of, label=name, reparented_to=name, state=CgroupState.DEAD)


def of_hostile_names() -> Snapshot:
    found = tuple(
        dataclasses.replace(
            mismatch(pid=i), comm=name[:15], charged_to=name, uncharged_from=name, events=(name,)
        )
        for i, name in enumerate(HOSTILE)
    )
    of = snapshot(*(hostile(i, name) for i, name in enumerate(HOSTILE)))
    return dataclasses.replace(of, mismatches=found, host=HOSTILE[0], kernel=HOSTILE[2])


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("attacked") / "r"
    record(folder, [of_hostile_names()])
    return page(read(folder, 9))


def test_hostile_names_are_text(attacked: str, tmp_path: Path) -> None:
    record(tmp_path / "r", [snapshot(cgroup("/tame", (site(5),), dead=True))])
    tame, found = Elements(page(read(tmp_path / "r", 9))), Elements(attacked)
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in tame.elements} | {"ul", "li", "pre"}
    assert len(found.scripts) == len(tame.scripts) == 5
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert found.scripts[1:] == tame.scripts[1:]
    assert "\x1b" not in attacked
    assert "\u2028" not in attacked
    assert "49" not in attacked.partition("7*7")[0][-10:]


def test_the_json_is_inert_in_its_script(attacked: str) -> None:
    found = Elements(attacked).scripts[0]
    assert not re.search(r"[<>&\u2028\u2029]", found)
    names = [one["name"] for one in json.loads(found)["cgroups"]]
    assert "/</script><script>alert(1)</script>" in names
    assert "/a?b?c" in names


def test_only_its_own_scripts_may_run_and_nothing_be_asked_for(attacked: str) -> None:
    found = Elements(attacked)
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in found.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert (parts["img-src"], parts["base-uri"], parts["form-action"]) == ("data:", "'none'", "'none'")
    sums = [b64encode(sha256(one.encode()).digest()).decode() for one in found.scripts[1:]]
    assert parts["script-src"].split() == [f"'sha256-{one}'" for one in sums]
    place = [tag for tag, _ in found.elements].index("script")
    assert "meta" not in [tag for tag, _ in found.elements[place:]], "the policy stands before all scripts"
    linked = [a for _, a in found.elements if a.keys() & {"src", "href", "action", "background", "srcset"}]
    assert linked == [{"rel": "icon", "href": "data:,"}]


def test_libraries_are_those_that_their_readme_names() -> None:
    vendor = WEB / "vendor"
    rows = re.findall(
        r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (vendor / "README.md").read_text(), re.MULTILINE
    )
    assert {name for name, _ in rows} == {
        one.name for one in vendor.iterdir() if one.suffix in {".js", ".css"}
    }
    for name, expected in rows:
        assert sha256((vendor / name).read_bytes()).hexdigest() == expected
    text = page(read(SAMPLE, 9))
    for name, words in (
        ("uPlot", "Leon Sorokin"),
        ("D3", "Mike Bostock"),
        ("d3-flame-graph", "Apache License"),
    ):
        assert f"Licence of {name}" in text
        assert words in text


def test_what_it_draws_adds_up() -> None:
    history, last = read(SAMPLE, 9), list(snapshots(SAMPLE))[-1]
    data = page_data(history)
    assert len(data["times"]) == 9
    assert data["times"] == sorted(data["times"])
    held = {one["name"]: sum(one["held"]) for one in data["cgroups"] if any(one["held"])}
    assert held == {c.path: c.held_pages for c in last.cgroups if c.held_pages}
    charged = {one["name"]: sum(one["charged"]) for one in data["cgroups"] if any(one["charged"])}
    assert charged == {c.path: c.charged_pages for c in last.cgroups if c.charged_pages}
    rows = data["sites"]["rows"]
    assert sum(sum(one["held"]) for one in rows) == last.held_pages
    assert sum(sum(one["charged"]) for one in rows) == last.charged_pages
    assert last.census is not None
    caches = [one for one in data["caches"]["rows"] if one["group"] == -1]
    assert {data["texts"][one["cache"]]: sum(one["held"]) for one in caches} == {
        one.cache: one.bytes for one in last.census.caches
    }
    counted = sum(sum(one["cells"][2::3]) for one in data["latencies"] if one["measured"] == "lifetime")
    assert counted == sum(c.latency["lifetime"].count for c in last.cgroups if "lifetime" in c.latency)


def many(number: int, cgroups: int) -> Snapshot:
    """So many cgroups, with three call sites each, all of which change."""
    kinds = (SiteKind.PIPE, SiteKind.UNIX_SOCKET, SiteKind.PAGE_TABLE)
    return snapshot(
        *(
            cgroup(
                f"/kubepods.slice/{'pod' * 20}{i}",
                tuple(
                    site(i * 7 + number * (i % 90) + place, number * i % 60, kind, f"function_{i % 50}")
                    for place, kind in enumerate(kinds)
                ),
                id=i + 1,
            )
            for i in range(cgroups)
        ),
        time=1_780_000_000.0 + number * 60,
    )


def test_the_rest_is_in_sums_and_it_says_so(tmp_path: Path) -> None:
    found = [many(number, 600) for number in range(12)]
    record(tmp_path / "r", found, a_minute=1, interval=60.0)
    history = read(tmp_path / "r", 6)
    text, data = page(history), page_data(history)
    assert "12 Snapshots are shown as 6 points" in text
    assert len(data["cgroups"]) == 41
    assert data["cgroups"][0]["name"] == "(other): 560 more cgroups"
    assert sum(sum(one["held"]) for one in data["cgroups"]) == found[-1].held_pages
    assert sum(sum(one["held"]) for one in data["sites"]["rows"]) == found[-1].held_pages
    charged = sum(c.charged_pages for c in found[-1].cgroups)
    assert sum(sum(one["charged"]) for one in data["sites"]["rows"]) == charged
    assert data["latencies"]


def test_it_stays_small(tmp_path: Path) -> None:
    """Of 3,000 cgroups over 240 points; of 10,000 there are no more rows, only other sums."""
    record(tmp_path / "r", (many(number, 3000) for number in range(4)), a_minute=1, interval=60.0)
    history = read(tmp_path / "r", 240)
    points = len(history.timeline.bins)
    numbers = json.dumps(page_data(history), separators=(",", ":"))
    assert len(page(history)) - len(numbers) + len(numbers) / points * 240 < 15 << 20


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    done = report(SAMPLE, "--html", tmp_path / "a.html", stderr=True)
    assert done.startswith(f"kmemtrace: Wrote {tmp_path}/a.html, ")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert [one.name for one in tmp_path.iterdir()] == ["a.html"]
    (tmp_path / "folder").mkdir()
    assert "cannot be written" in report(SAMPLE, "--html", tmp_path / "folder", status=4)
    assert "cannot be written" in report(SAMPLE, "--html", tmp_path / "no" / "a.html", status=4)


def test_without_jinja2_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError(name='jinja2')")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    told = report(SAMPLE, "--html", tmp_path / "a.html", status=4, env=environment)
    assert "jinja2" in told
    assert "pip install 'kmemtrace[report]'" in told


def test_findings_stand_with_their_evidence(tmp_path: Path) -> None:
    record(tmp_path / "r", islice(machine(4), 20))
    text = page(read(tmp_path / "r", 9))
    assert text.count('<pre class="bad">') == 3
    assert f"page {mismatch().page:#x}" in text
