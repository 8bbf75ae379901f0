"""make report-picture: the page of `kmemtrace report`, light and dark, as PNG for the README.

A real run on this machine's kernel, root only: two minutes of small loads in some 300 cgroups that have the
names of a container host's, as in top_picture.py, recorded and reported. Chromium draws it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from dashboards.host import host
from dashboards.top_picture import BELOW, renamed
from kmemtrace.census.keeper import Keeper
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.record import about
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import KmemtraceError
from kmemtrace.history.history import read
from kmemtrace.history.page import page
from kmemtrace.recording.writer import Writer

_SIZE = ViewportSize(width=1280, height=1130)
_INTERVAL = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=120.0, help="to record; default: %(default)s")
    parser.add_argument("--recording", type=Path, help="one from before, of which to draw the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmemtrace-picture-") as temporary:
        folder = options.recording or Path(temporary) / "recording"
        try:
            if options.recording is None:
                _record(folder, options.seconds)
            text = page(read(folder, 240))
        except KmemtraceError as error:
            print(f"kmemtrace: {error}", file=sys.stderr)
            return error.status
        file = Path(temporary) / "page.html"
        file.write_text(text, encoding="utf-8")
        _draw(file, options.folder)
    return 0


def _record(folder: Path, seconds: float) -> None:
    with host(BELOW) as begin, open_censor() as censor, CgroupPaths(memory_hierarchy()) as paths:
        keeper = Keeper(censor, paths, f"/{BELOW}")
        with make_tracer(subtree=f"/{BELOW}") as tracer, keeper, Writer(folder, _INTERVAL) as writer:
            writer.begin({**about(tracer.plan), "kernel": tracer.plan.release.partition("-")[0]})
            keeper.wait_for_first()
            begin()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                writer.add(renamed(keeper.joined(tracer.snapshot())))
                time.sleep(_INTERVAL)
            writer.finish()


def _draw(file: Path, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for number, theme in enumerate(("light", "dark")):
            shown = browser.new_page(viewport=_SIZE, color_scheme="dark" if number else "light")
            shown.goto(file.as_uri())
            _drag(shown, 0.35, 0.75)
            picture = folder / f"report-{theme}.png"
            shown.screenshot(path=picture)
            # A third of the size, and no difference that is seen.
            Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)
            print(picture)
        browser.close()


def _drag(shown: Page, begin: float, end: float) -> None:
    """Chooses a range of the chart, from one part of its width to another."""
    box = shown.locator("#chart .u-over").bounding_box()
    if box is None:
        raise SystemExit("The page has no chart.")
    y = box["y"] + box["height"] / 2
    shown.mouse.move(box["x"] + begin * box["width"], y)
    shown.mouse.down()
    shown.mouse.move(box["x"] + end * box["width"], y, steps=5)
    shown.mouse.up()
    shown.mouse.move(box["x"] + (begin + end) / 2 * box["width"], y)


if __name__ == "__main__":
    sys.exit(main())
