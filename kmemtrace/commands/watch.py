"""Waits until the time is up, or until a signal says that what is known by then is enough."""

import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_AS_GOOD_AS = 0.25
"""Part of an interval before a tick is due at which it is as good as past."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Lets each signal that asks the process to end do as Ctrl-C does: by unwinding, which detaches.

    One that is ignored stays so: whoever started us (nohup, a shell in the background) wants that.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _unwind)


@contextmanager
def importing() -> Iterator[None]:
    """Holds back what interrupt_on_signals() does, until this is left.

    One that comes while Python executes a string, as it does to make a dataclass, has it end by SIGINT in the
    end, whatever caught it (run_eval_code_obj() in its pythonrun.c).
    """
    came: list[int] = []
    held = [number for number in SIGNALS if signal.getsignal(number) is _unwind]
    for number in held:
        signal.signal(number, lambda one, _: came.append(one))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, _unwind)
    if came:
        raise KeyboardInterrupt


def tell_interruption(after: float | None, of: float) -> None:
    """Tells on stderr of an interruption, if there was one.

    Args:
        after: Seconds until it came; None where there was none.
        of: Seconds that were asked for.
    """
    if after is not None:
        print(f"kmemtrace: Interrupted after {after:.1f} s of {of:g} s.", file=sys.stderr)


def _unwind(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Watch:
    """Waits so that a signal which asks the process to end does not lose what is known by then.

    While it is entered, the first such signal ends the waiting and no more: what is being read is read to its
    end, and can be told. The next one unwinds, as all do while it is not entered. It is for the main thread.
    """

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.interrupted_after: float | None = None
        """Seconds after the begin at which a signal came; None while none has come."""
        self._woken: int | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.begin = time.monotonic()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._woken is not None:
            os.close(self._woken)
            self._woken = None

    def wait(self, seconds: float) -> bool:
        """Waits so many seconds, and returns whether they have passed.

        It returns False at once when a signal comes, or has come.
        """
        select.select([] if self._woken is None else [self._woken], [], [], max(0.0, seconds))
        return self.interrupted_after is None

    def wait_until(self, seconds: float) -> bool:
        """Waits until so many seconds after the begin, as wait() does."""
        return self.wait(self.begin + seconds - time.monotonic())

    def ticks(self, interval: float, seconds: float | None = None) -> Iterator[None]:
        """Yields each interval, until so many seconds after the begin or a signal.

        Ticks are skipped that are past, or as good as past, by when the one before is done with: whoever was
        stopped for a minute does not want a minute's worth at once.
        """
        due = interval
        while (seconds is None or due <= seconds) and self.wait_until(due):
            yield
            late = time.monotonic() - self.begin - due
            due += interval * max(1, math.ceil(late / interval + _AS_GOOD_AS))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted_after is not None:
            _unwind(number, frame)
        self.interrupted_after = time.monotonic() - self.begin
        if self._woken is not None:
            os.eventfd_write(self._woken, 1)
