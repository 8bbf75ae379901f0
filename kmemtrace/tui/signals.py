"""Ends the view on a signal, as if it had been told to quit."""

import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_GRACE_SECONDS = 5.0
_STDIN = 0


@contextmanager
def ending(end: Callable[[], None], grace: float = _GRACE_SECONDS) -> Iterator[None]:
    """Has a signal that asks the process to end call `end`; afterwards the former handlers are back.

    It has to be entered in the main thread.

    A terminal that takes no more output (a stalled connection, a closed window) can block the view for good:
    when `grace` seconds after the signal the block has not been left, the process ends on the spot, its
    terminal's settings put back. The kernel then detaches what is attached.
    """
    last_resorts: list[threading.Timer] = []
    settings = _settings()

    def give_up() -> None:
        with suppress(termios.error):
            if settings is not None:
                termios.tcsetattr(_STDIN, termios.TCSANOW, settings)
        os._exit(0)

    # Not asyncio's: those run in the event loop, which is what a full output queue blocks.
    def handle(_signal: int, _frame: FrameType | None) -> None:
        timer = threading.Timer(grace, give_up)
        timer.daemon = True
        timer.start()
        last_resorts.append(timer)
        end()

    before = {which: signal.signal(which, handle) for which in _SIGNALS}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
        for timer in last_resorts:
            timer.cancel()


def _settings() -> list[Any] | None:
    """Returns the terminal's settings; None without a terminal."""
    try:
        return termios.tcgetattr(_STDIN)
    except termios.error:
        return None
