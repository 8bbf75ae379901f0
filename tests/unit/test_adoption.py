"""The search for pages charged before the start: until when nothing is stray, and why not later."""

import errno
import threading

import numpy as np
import pytest

from kmemtrace.tracer import adoption
from kmemtrace.tracer.adoption import SEARCHING, Adoption
from kmemtrace.tracer.capacity import ADOPT_BATCH

PAGES = 0xFFFF_EA00_0000_0000
STRUCT = 64


class Map(dict[int, np.ndarray]):
    """A BPF array map of one element."""


class Programs:
    """What find_page_map and adopt do: the one answers, the other is called with the next struct page."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, page_map: int = PAGES, error: int | None = None
    ) -> None:
        self.page_map, self.scanned, self.seen = Map(), Map(), list[int]()
        self._answer, self._error = page_map, error
        monkeypatch.setattr(adoption, "test_run", self._run)
        self.adoption = Adoption(
            {"find_page_map": 1, "adopt": 2}.__getitem__,
            self.page_map,  # type: ignore[arg-type]
            self.scanned,  # type: ignore[arg-type]
            by_symbol=True,
        )

    def _run(self, program: int, *arguments: int) -> None:
        if program == 1:
            self.page_map[0] = np.array([self._answer], "u8")
            return
        if self._error is not None:
            raise OSError(self._error, "Operation not permitted")
        assert self.adoption.unjudged == SEARCHING
        self.seen += arguments

    def run(self, stop: threading.Event | None = None) -> str | None:
        """What is said of the class once it is over."""
        self.adoption.run(3 * ADOPT_BATCH, STRUCT, stop or threading.Event())
        self.adoption.wait()
        return self.adoption.unjudged


def test_when_all_are_known_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch)
    assert programs.adoption.unjudged == SEARCHING
    assert programs.run() is None
    assert programs.seen == [PAGES + n * ADOPT_BATCH * STRUCT for n in range(3)]
    assert programs.scanned[0][0] == 1
    assert programs.adoption.ended is not None


def test_struct_pages_that_are_not_found_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, page_map=0x1000)
    assert "keeps its struct pages was not found" in str(programs.run())
    assert (programs.seen, programs.scanned, programs.adoption.ended) == ([], {}, None)


def test_a_search_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(monkeypatch, error=errno.EPERM)
    assert "the kernel ended the search for them: Operation not permitted" in str(programs.run())
    assert programs.scanned == {}


def test_whoever_waits_is_let_go_of_when_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, stop = Programs(monkeypatch), threading.Event()
    stop.set()
    assert "was ended" in str(programs.run(stop))
