"""make picture: `kmemtrace top` as it is, on some 300 cgroups with small loads, as SVG for the README.

A real run on this machine's kernel, root only. The cgroups have the names of a container host's
(dashboards/host.py); this machine's own name, and the cgroup that all of them are below, are left out.
"""

import argparse
import asyncio
import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dashboards.host import host
from kmemtrace.census.keeper import Keeper
from kmemtrace.cgroups.labels import label
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.commands.censuses import open_censor
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import KmemtraceError
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.view import View
from kmemtrace.tui.app import TopApp

BELOW = "kmemtrace-picture"
_HOST = "node-7"
_MONOSPACE = "font-family: monospace;"


class Picture(NamedTuple):
    name: str
    size: str
    keys: tuple[str, ...] = ()
    """Pressed before it, as Textual names them, on what the one before left."""


_PICTURES = (
    Picture("top", "80x24"),
    Picture("top", "140x40"),
    Picture("top-tree", "140x40", ("t",)),
    Picture("top-functions", "140x40", ("t", "slash", *"nginx", "enter", "enter", "right", "down", "right")),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=40, help="to watch first; default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds; default: %(default)s")
    parser.add_argument("--size", metavar="COLUMNSxLINES", help="of all; default: each in its own")
    options = parser.parse_args()
    try:
        with host(BELOW) as begin, open_censor() as censor, CgroupPaths(memory_hierarchy()) as paths:
            begin()
            keeper = Keeper(censor, paths, f"/{BELOW}")
            with make_tracer(subtree=f"/{BELOW}") as tracer, keeper:
                keeper.wait_for_first()
                source = lambda: renamed(keeper.joined(tracer.snapshot()))  # noqa: E731
                pictures = asyncio.run(_pictures(source, options))
    except KmemtraceError as error:
        print(f"kmemtrace: {error}", file=sys.stderr)
        return error.status
    for name, picture in pictures.items():
        file = options.folder / f"{name}.svg"
        file.write_text(picture, encoding="utf-8")
        print(file)
    return 0


async def _pictures(source: Callable[[], Snapshot], options: argparse.Namespace) -> dict[str, str]:
    """By name and size, of one run."""
    app = TopApp(source, options.interval, View())
    made: dict[str, str] = {}
    async with app.run_test() as pilot:
        seen: list[Snapshot] = []
        while len(seen) < options.frames:
            await asyncio.sleep(options.interval / 10)
            if app.latest is not None and app.latest not in seen[-1:]:
                seen.append(app.latest)
        for name, its_size, keys in _PICTURES:
            size = options.size or its_size
            await pilot.resize_terminal(*map(int, size.split("x")))
            await pilot.pause()
            await pilot.press(*keys)
            await pilot.pause()
            made[f"{name}-{size}"] = _of_any_font(app.export_screenshot(title="kmemtrace top"))
    return made


def renamed(snapshot: Snapshot) -> Snapshot:
    """As of a host whose root is the cgroup that all of it is below."""
    return dataclasses.replace(
        snapshot,
        host=_HOST,
        kernel=snapshot.kernel.partition("-")[0],
        cgroups=tuple(map(_renamed_cgroup, snapshot.cgroups)),
    )


def _renamed_cgroup(cgroup: Cgroup) -> Cgroup:
    path = _below(cgroup.path)
    heir = None if cgroup.reparented_to is None else _below(cgroup.reparented_to)
    return dataclasses.replace(cgroup, path=path, label=label(path), reparented_to=heir)


def _below(path: str) -> str:
    return path.removeprefix(f"/{BELOW}") or "/"


def _of_any_font(picture: str) -> str:
    """Without fonts from elsewhere: whatever the reader's browser takes for a terminal's."""
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return re.sub(r"font-family: [^;]*;", _MONOSPACE, picture)


if __name__ == "__main__":
    sys.exit(main())
