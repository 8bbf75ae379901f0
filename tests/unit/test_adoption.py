"""The search for pages charged before the start: what it looks at, and why it did not come to its end."""

import errno
import threading

import numpy as np
import pytest

from kmemtrace.kernel.page_map import By
from kmemtrace.tracer import adoption
from kmemtrace.tracer.adoption import Adoption
from kmemtrace.tracer.capacity import ADOPT_BATCH
from kmemtrace.tracer.structs import SEARCH

PAGES = 0xFFFF_EA00_0000_0000
STRUCT = 64
FIRST = 1 << 18
"""Frame that memory begins at."""


class Map(dict[int, np.ndarray]):
    """A BPF array map of one element."""


FOUND = 7
"""In each batch."""


class Programs:
    """What the programs do: find_page_map answers, find_charged is called with the next struct page and finds
    some, adopt is called with each of those."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, page_map: int = PAGES, error: int | None = None
    ) -> None:
        self.page_map, self.searches = Map(), Map()
        self.seen, self.adopted, self.through = list[int](), list[int](), 0
        self._answer, self._error = page_map, error
        monkeypatch.setattr(adoption, "test_run", self._run)
        self.adoption = Adoption(
            {"find_page_map": 1, "find_charged": 2, "adopt": 3}.__getitem__,
            self.page_map,  # type: ignore[arg-type]
            self.searches,  # type: ignore[arg-type]
            self._end,
            By.SYMBOL,
        )

    def _end(self) -> None:
        self.through += 1

    def _run(self, program: int, *arguments: int) -> int:
        if program == 1:
            self.page_map[0] = np.array([self._answer], "u8")
            return 0
        if self._error is not None:
            raise OSError(self._error, "Operation not permitted")
        assert self.adoption.ended is None
        if program == 3:
            self.adopted += arguments
            return 0
        self.seen += arguments
        search = np.zeros(1, SEARCH)
        search["count"], search["found"][0, :FOUND] = (
            FOUND,
            np.uint64(arguments[0]) + np.uint64(STRUCT) * np.arange(FOUND, dtype="u8"),
        )
        self.searches[0] = search
        return FOUND

    def run(self, stop: threading.Event | None = None) -> str | None:
        """Why it did not come to its end."""
        self.adoption.run(range(FIRST, FIRST + 3 * ADOPT_BATCH), STRUCT, stop or threading.Event())
        self.adoption.wait()
        return self.adoption.failure


def test_each_that_is_found_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch)
    assert programs.run() is None
    batches = [PAGES + (FIRST + n * ADOPT_BATCH) * STRUCT for n in range(3)]
    assert programs.seen == batches
    assert programs.adopted == [batch + n * STRUCT for batch in batches for n in range(FOUND)]
    assert programs.through == 1
    assert programs.adoption.ended is not None


def test_struct_pages_that_are_not_found_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, page_map=0x1000)
    assert "keeps its struct pages was not found" in str(programs.run())
    assert (programs.seen, programs.through, programs.adoption.ended) == ([], 0, None)


def test_a_search_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, error=errno.EPERM)
    assert "the kernel ended the search for them: Operation not permitted" in str(programs.run())
    assert programs.through == 0


def test_whoever_waits_is_let_go_of_when_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, stop = Programs(monkeypatch), threading.Event()
    stop.set()
    assert "was ended" in str(programs.run(stop))
