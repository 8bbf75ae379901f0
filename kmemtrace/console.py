"""Prepares the process's standard streams, writes to them, and says how the process ends.

No error of output, and no mistake of ours, may pass for a verdict, whose exit status is 1.
"""

import contextlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from kmemtrace.errors import ExitStatus, KmemtraceError, OutputError
from kmemtrace.limits import explanation

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEBUG = "KMEMTRACE_DEBUG"
"""Name of the environment variable that, when set, shows where in our code an unexpected error came from."""


def prepare() -> None:
    """Makes the three streams safe to use, whatever was done to them before the start.

    It has to be called first. A stream that was closed leaves its number to the next file that is opened,
    which would then be written to, or inherited by a command. So each gets one: of which nothing can be read,
    to which no output can be written, and which swallows messages.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, flags), number)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 for good
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and units have characters that not every locale can write.
        sys.stdout.reconfigure(errors="backslashreplace")
    messages = io.BufferedWriter(_Messages(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(messages, errors="backslashreplace", line_buffering=True)
    threading.excepthook = lambda failed: _confess(failed.exc_value)


class _Messages(io.FileIO):
    """A stream that drops what cannot be written: a message has no other place to go to."""

    def write(self, data: "ReadableBuffer", /) -> int:
        with contextlib.suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes


def write(text: str) -> bool:
    """Prints `text` as lines of their own, at once.

    Returns:
        False when its reader has hung up, which is no error: what is written from then on goes nowhere.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        _mute(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return False
        raise OutputError(f"The output could not be written: {error.strerror}.") from None
    return True


def write_bytes(data: bytes) -> None:
    """Writes what is no text to the standard output; a reader that has hung up is no error.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        _mute(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"The output could not be written: {error.strerror}.") from None


def _mute(stream: TextIO) -> None:
    """Lets a stream write nowhere: what is left in its buffer would be tried again at exit, and fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def guarded(run: Callable[[], int]) -> int:
    """Returns the exit status of `run`, or of the error that it raised, which is then told on stderr."""
    try:
        return run()
    except KmemtraceError as error:
        print(f"kmemtrace: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("kmemtrace: Interrupted before there was anything to tell.", file=sys.stderr)
        return ExitStatus.INCONCLUSIVE
    except Exception as error:  # noqa: BLE001 told, and no verdict
        _confess(error)
        return ExitStatus.CANNOT


def _confess(error: BaseException | None) -> None:
    """Tells of an error that nobody foresaw, unless a limit of this process explains it."""
    if error is None or isinstance(error, SystemExit):
        return
    explained = explanation(error)
    if explained is not None:
        print(f"kmemtrace: {explained}", file=sys.stderr)
        return
    words = " ".join(f"{type(error).__name__}: {error}".split())
    print(
        f"kmemtrace: An error that kmemtrace did not expect: {words}. Please report it, with what it prints "
        f"when {DEBUG}=1 is set in the environment.",
        file=sys.stderr,
    )
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
