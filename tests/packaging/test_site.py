"""`make site`: each link within it leads somewhere, what the code tells is in it, and it needs no network."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

from kmemtrace.model.metrics import Metric
from manual.commands import commands

REPOSITORY = Path(__file__).parents[2]
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class Page(HTMLParser):
    """The anchors of a page, where it links to, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if name in has}
        if tag == "a" and "href" in has:
            self.links.add(has["href"])
        self.loaded |= {has["src"]} if "src" in has else set()
        self.loaded |= {has["href"]} if tag == "link" else set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a warning."""
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "website", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, f"kmemtrace: built {folder}/index.html\n")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_every_document_is_a_page(site: Path) -> None:
    documents = [f"docs/{file.stem}.html" for file in (REPOSITORY / "docs").glob("*.md")]
    assert len(documents) > 10
    assert [name for name in documents if not (site / name).is_file()] == []


def test_every_link_within_it_leads_somewhere(pages: dict[Path, Page]) -> None:
    dead, inner = [], 0
    for file, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            inner += 1
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                dead.append(f"{file.name}: {link}")
    assert inner > 1000
    assert dead == []


def test_every_option_has_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    for command in commands():
        anchors = pages[site / f"docs/reference/{command.page}.html"].anchors
        wanted = {
            f"cmdoption-{command.page}-{option.lstrip('-')}"
            for a in command.options
            for option in a.option_strings
        }
        assert wanted - anchors == set()


def test_every_metric_has_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    anchors = pages[site / "docs/reference/metrics.html"].anchors
    assert {str(metric) for metric in Metric} - anchors == set()


def test_every_key_of_the_json_is_told(site: Path) -> None:
    schema = json.loads((REPOSITORY / "docs/top.schema.json").read_text())
    text = (site / "docs/reference/json.html").read_text()
    keys = set(schema["properties"])
    for shared in schema["$defs"].values():
        keys |= set(shared.get("properties", {}))
    keys |= {
        "sites[].symbol",
        "objects[].held_objects",
        "gone.cgroups",
        "allocations[].order",
        "maps{}.entries",
    }
    assert len(keys) > 90
    assert [key for key in sorted(keys) if f">{key}</span>" not in text] == []


def test_no_page_asks_a_network(site: Path, pages: dict[Path, Page]) -> None:
    """Nor do its style sheets and scripts, in a browser."""
    assert [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc] == []
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no Chromium here (Debian: chromium)")
    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_OPTIONS)
        page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        for name in ("index.html", "docs/reference/json.html", "search.html?q=kmemtrace_held_bytes"):
            page.goto(f"{site.as_uri()}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") == 400, (
                "the page is as wide as the screen"
            )
        page.get_by_text("All metrics > kmemtrace_held_bytes").wait_for()
        browser.close()
    assert asked
    assert ([url for url in asked if not url.startswith("file:")], said) == ([], [])
