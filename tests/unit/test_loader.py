"""Programs are loaded once each, by whoever comes first."""

import os
import threading
import time
from collections import Counter

import pytest

from kmemtrace.tracer.capacity import ENTRIES
from kmemtrace.tracer.loader import Loader
from kmemtrace.tracer.sources import probes_folder

NAMES = [f"program{number}" for number in range(20)]


def test_each_is_loaded_once_and_closed() -> None:
    loads, opened = Counter[str](), list[int]()

    def load(name: str) -> int:
        loads[name] += 1
        time.sleep(0.001)
        opened.append(os.memfd_create(name))
        return opened[-1]

    loader = Loader(load)
    loader.begin(NAMES)
    found = {name: loader.fd(name) for name in NAMES}
    loader.end()
    assert loads == Counter(NAMES)
    assert sorted(found.values()) == sorted(opened)
    loader.close()
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_refusal_is_told_to_who_asks() -> None:
    def load(name: str) -> int:
        if name == NAMES[-1]:  # the thread's first
            raise OSError(22, "refused")
        return os.memfd_create(name)

    loader = Loader(load)
    loader.begin(NAMES)
    assert loader.fd(NAMES[0]) >= 0
    with pytest.raises(OSError, match="refused"):
        loader.fd(NAMES[-1])
    loader.close()


def test_without_a_thread_each_is_loaded_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    loader = Loader(os.memfd_create)
    loader.begin(NAMES)
    assert len({loader.fd(name) for name in NAMES}) == len(NAMES)
    loader.close()


def test_closing_does_not_wait_for_what_nobody_wants_any_more() -> None:
    loaded = list[str]()

    def load(name: str) -> int:
        loaded.append(name)
        time.sleep(0.05)
        return os.memfd_create(name)

    loader = Loader(load)
    loader.begin(NAMES)
    loader.close()
    assert len(loaded) <= 2


def test_entries_are_known_to_maps_alone() -> None:
    """The compiler is told other numbers for them."""
    lines = [line for path in probes_folder().glob("*.[ch]") for line in path.read_text().splitlines()]
    for name in ENTRIES:
        of_it = [line for line in lines if name in line.replace(",", " ").replace(")", " ").split()]
        assert of_it, name
        for line in of_it:
            assert line.startswith(("BPF_HASH(", 'BPF_TABLE("', 'BPF_F_TABLE("')), line
            assert line.endswith((f", {name});", f", {name}, BPF_F_MMAPABLE);")), line
