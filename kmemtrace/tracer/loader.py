"""Loads programs, a few at a time.

The kernel's verifier takes 0.4 s of CPU for all of ours, and no program waits for another: threads take them
from one end, while who wants one takes that, or does other work until then.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from kmemtrace.kernel.beside import settle

_THREADS = 2


class Loader:
    """Loads each program once, and closes all of them in the end."""

    def __init__(self, load: Callable[[str], int]) -> None:
        """Loads nothing yet.

        Args:
            load: Loads the program of a name, and returns its descriptor.
        """
        self._load = load
        self._waiting: list[str] = []
        self._found: dict[str, Future[int]] = {}
        """By the name of a program, what became of it, or will when a thread is done with it."""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def begin(self, names: Sequence[str]) -> None:
        """Begins to load these, the last of them first."""
        self._waiting = list(names)
        for _ in range(_THREADS):
            thread = threading.Thread(target=self._work, name="loading", daemon=True)
            with suppress(RuntimeError):  # no thread can be had: each is loaded when it is wanted
                thread.start()
                self._threads.append(thread)

    def fd(self, name: str) -> int:
        """Returns the descriptor of a program, which is loaded now if it was not.

        Raises:
            OSError: The kernel refuses to load it.
        """
        with self._lock:
            found = self._found.get(name)
            ours = found is None
            if found is None:
                found = self._found[name] = Future()
        if ours:
            settle(found, partial(self._load, name))
        return found.result()

    def end(self) -> None:
        """Returns when no thread of ours is left: it would keep privileges that the process gives up."""
        while self._threads:
            self._threads.pop().join()

    def close(self) -> None:
        self._waiting = []
        self.end()
        while self._found:
            found = self._found.popitem()[1]
            if found.exception() is None:
                os.close(found.result())

    def _work(self) -> None:
        while True:
            with self._lock:
                names = [name for name in self._waiting if name not in self._found]
                if not names:
                    return
                found = self._found[names[-1]] = Future()
            settle(found, partial(self._load, names[-1]))
