"""How the struct pages are found where no symbol tells where they begin."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmemtrace.kernel import page_map
from kmemtrace.kernel.known_page import KnownPage, known_page
from kmemtrace.kernel.page_map import By, array_start

START, STRUCT, FILE = 0xFFFF_FDFF_BF00_0000, 64, 7


class Moving(KnownPage):
    """A page that the kernel moves once, while it is looked at."""

    frames = (0x4_1234, 0x4_4321, 0x4_4321, 0x4_4321)

    def __init__(self) -> None:
        super().__init__(FILE, 0)
        object.__setattr__(self, "asked", iter(self.frames))

    def frame(self) -> int | None:
        return next(self.asked, None)  # type: ignore[attr-defined]


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_map, "known_page", lambda: contextlib.nullcontext(Moving()))


def test_from_a_page_whose_number_is_known(moving: None) -> None:
    asked: list[int] = []

    def find(file: int) -> int:
        asked.append(file)
        return START + 0x4_4321 * STRUCT

    assert array_start(By.KNOWN_PAGE, STRUCT, find) == START
    assert asked == [FILE, FILE], "what was answered while it moved does not count"


def test_what_is_no_page_is_none(moving: None) -> None:
    """An xarray's node, of a file with a large block."""
    assert array_start(By.KNOWN_PAGE, STRUCT, lambda _: START + 2) == 0


@pytest.mark.parametrize(
    ("by", "found", "start"),
    [(By.SYMBOL, START, START), (By.ANY_PAGE, 0xFFFF_EA00_4002_1180, 0xFFFF_EA00_4000_0000)],
)
def test_from_what_needs_no_file(by: By, found: int, start: int) -> None:
    assert array_start(by, STRUCT, lambda _: found) == start


@pytest.fixture
def page() -> Iterator[KnownPage]:
    with known_page() as made:
        yield made


def test_the_page_of_a_file(page: KnownPage) -> None:
    assert os.fstat(page.file).st_size == mmap.PAGESIZE
    told = page.frame()
    can = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)[7:], 16
    )
    assert (told is not None) == bool(can >> 21 & 1), "frames are told to who has CAP_SYS_ADMIN"
