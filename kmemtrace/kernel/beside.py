"""Does something on a thread of its own, beside what else is done."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Made = TypeVar("_Made")


def beside(make: Callable[[], _Made], name: str) -> "Future[_Made]":
    """Begins to make something, at once if no thread can be had.

    Args:
        make: Makes it. What it raises is told to whoever asks for the result; nobody waits for it at the end
            of the process.
        name: What the thread is called.
    """
    made = Future[_Made]()
    thread = threading.Thread(target=settle, args=(made, make), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had
        settle(made, make)
    return made


def settle(made: "Future[_Made]", make: Callable[[], _Made]) -> None:
    """Makes something, and tells whoever waits for it what became of that."""
    try:
        made.set_result(make())
    except BaseException as error:  # noqa: BLE001 told to whoever asks for it
        made.set_exception(error)
