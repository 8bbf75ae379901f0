"""Shows a line on the terminal that says what is waited for, where that takes longer than two seconds."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from kmemtrace.text import duration

_SILENT_SECONDS = 2.0
_STDERR = 2
_ERASE = "\r\x1b[K"


@contextlib.contextmanager
def progress(words: str | Callable[[], str], seconds: float | None = None) -> Iterator[None]:
    """Shows `words` on stderr, if that is a terminal, with how long it has been; afterwards they are gone.

    Nothing else should write there meanwhile.

    Args:
        words: What is waited for; or what returns that, where it changes.
        seconds: How long it takes in all, where that is known.
    """
    if not os.isatty(_STDERR):
        yield
        return
    # A descriptor of our own: the compiler's and the verifier's messages are turned aside, and 2 with them.
    terminal, end = os.dup(_STDERR), threading.Event()
    # By a thread: some of what takes long is a single call of the compiler's.
    thread = threading.Thread(target=_draw, args=(terminal, end, words, seconds), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        os.close(terminal)


def say(line: str) -> None:
    """Prints a line on stderr while progress() may be drawing there."""
    print(f"{_ERASE if os.isatty(_STDERR) else ''}kmemtrace: {line}", file=sys.stderr)


def _draw(terminal: int, end: threading.Event, words: str | Callable[[], str], seconds: float | None) -> None:
    begin, pause = time.monotonic(), _SILENT_SECONDS
    with contextlib.suppress(OSError):
        while not end.wait(pause):
            of = "" if seconds is None else f" of {_whole(seconds)}"
            told = words if isinstance(words, str) else words()
            line = f"kmemtrace: {told}, {_whole(time.monotonic() - begin)}{of}"
            # What does not fit would go on in the next line, which is not wiped out.
            room = (os.get_terminal_size(terminal).columns or 80) - 1
            os.write(terminal, f"{_ERASE}{line[:room]}".encode())
            pause = 0.5
        if pause < _SILENT_SECONDS:
            os.write(terminal, _ERASE.encode())


def _whole(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds < 60 else duration(seconds)
