"""Small facts of the machine: release numbers, page frames, capabilities."""

from pathlib import Path

import pytest

from kmemtrace.kernel.facts import highest_page_frame, lowest_page_frame, version
from kmemtrace.kernel.privileges import privileges
from kmemtrace.tracer.capacity import Capacity

ZONEINFO = """\
Node 0, zone      DMA
        spanned  4095
  start_pfn:           1
Node 0, zone   Normal
        spanned  5505024
  start_pfn:           1048576
Node 0, zone  Movable
        spanned  0
  start_pfn:           9999999
"""


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-amd64", (6, 18)), ("5.10.0-32-amd64", (5, 10)), ("7.2-rc3", (7, 2)), ("strange", (0, 0))],
)
def test_version(release: str, expected: tuple[int, int]) -> None:
    assert version(release) == expected


def test_highest_page_frame_passes_over_empty_zones(tmp_path: Path) -> None:
    (tmp_path / "zoneinfo").write_text(ZONEINFO)
    assert highest_page_frame(tmp_path / "zoneinfo") == 1048576 + 5505024
    assert lowest_page_frame(tmp_path / "zoneinfo") == 0


def test_memory_need_not_begin_at_0(tmp_path: Path) -> None:
    """As on arm64, where what lies below the first struct page is no struct page."""
    (tmp_path / "zoneinfo").write_text(ZONEINFO.replace(" 1\n", f" {(1 << 18) + 7}\n"))
    assert lowest_page_frame(tmp_path / "zoneinfo") == 1 << 18


@pytest.mark.parametrize(
    ("frames", "asked", "pages"),
    [(1 << 18, None, 1 << 16), (6 << 20, None, 1 << 17), (1 << 30, None, 1 << 22), (1 << 20, 512, 512)],
)
def test_capacity(frames: int, asked: int | None, pages: int) -> None:
    room = Capacity.of_machine(frames, asked)
    assert room.pages == pages
    mask = int(str(room.defines()["PAGE_INDEX_MASK"]).removesuffix("U"))
    assert mask >= frames - 1, "no two page frames share a bit of the filter"
    assert mask & (mask + 1) == 0


@pytest.mark.parametrize(
    ("held", "missing", "wanted"),
    [
        (0, ("CAP_BPF", "CAP_PERFMON"), 2),
        (1 << 39, ("CAP_PERFMON",), 2),
        (1 << 38 | 1 << 39 | 1 << 2 | 1 << 34, (), 0),
        (1 << 21, (), 2),
    ],
)
def test_capabilities(held: int, missing: tuple[str, ...], wanted: int, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{held:016x}\nSeccomp:\t0\n")
    found = privileges(tmp_path / "status")
    assert found.missing == missing
    assert len(found.wanted) == wanted
    assert (found.refusal is not None) >= bool(missing)
