"""Holds what this process is limited to against what a tracer takes, and explains errors by such limits.

Most of that is the compiler's, which ends the process, without a word, where it gets no memory. So limits are
looked at before.
"""

import errno
import math
import os
import resource
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from kmemtrace.errors import CannotError

_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Limit:
    number: int
    what: str
    option: str
    """Option of the shell's ulimit, which reckons memory in kilobytes."""
    unit: int
    needed: int
    """How many units a tracer takes. Measured with BCC 0.26 and LLVM 14, without probed functions: 470M,
    137M, 47 files."""
    to_begin: int = 0
    """How many units it takes to begin: without them numpy ends the process, with a status that is a
    verdict."""


_MEMORY = (
    _Limit(resource.RLIMIT_AS, "M of addresses", "-v", _MEGABYTE, 512, 160),
    _Limit(resource.RLIMIT_DATA, "M of data", "-d", _MEGABYTE, 192, 80),
)
_FILES = _Limit(resource.RLIMIT_NOFILE, " open files", "-n", 1, 128)
_NO_THREADS = (
    "No more threads can be started here, and kmemtrace needs two: raise the limit (ulimit -u, or pids.max "
    "of the cgroup), or end other processes."
)
_NO_MEMORY = "There was no memory left for kmemtrace: free some, or start it where more is allowed."


def shortages() -> list[str]:
    """Returns why this process could not become a tracer, each reason with what would help."""
    found = _too_low((*_MEMORY, _FILES))
    if not found and not _may_start_threads():  # which takes addresses, too
        found.append(_NO_THREADS)
    return found


def require_to_begin() -> None:
    """Refuses to begin where not even our own modules could be loaded.

    Raises:
        CannotError: A limit is too low for that.
    """
    for limit in _MEMORY:
        if _allowed(limit) < limit.to_begin * limit.unit:
            raise CannotError(_too_low((limit,))[0])


def explanation(error: BaseException) -> str | None:
    """Returns in a sentence what an error is due to, if it is due to a limit."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return next(iter(_too_low(_MEMORY)), _NO_MEMORY)
    if isinstance(error, ImportError | SystemError):  # also of a library that finds no room for itself
        return next(iter(_too_low(_MEMORY)), None)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return _NO_THREADS
    if number in (errno.EMFILE, errno.ENFILE):
        return next(iter(_too_low((_FILES,))), "No more files can be opened: raise the limit (ulimit -n).")
    return None


def named(text: str) -> OSError | None:
    """Finds the error of the system whose words a library's message has in it.

    Returns:
        The error; None where it is none of those that explanation() knows, or that say that something is not
        allowed.
    """
    numbers = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.EACCES, errno.E2BIG)
    return next((OSError(n, os.strerror(n)) for n in numbers if os.strerror(n) in text), None)


def _too_low(limits: Iterable[_Limit]) -> list[str]:
    found = []
    for limit in limits:
        allowed = _allowed(limit)
        if allowed < limit.needed * limit.unit:
            words = f"{allowed // limit.unit:.0f}{limit.what}"
            needed = f"{limit.needed}{limit.what.partition(' ')[0]}"
            found.append(
                f"This process may have {words} (ulimit {limit.option}), and kmemtrace needs {needed}: "
                "raise the limit."
            )
    return found


def _allowed(limit: _Limit) -> float:
    allowed = resource.getrlimit(limit.number)[0]
    return math.inf if allowed == resource.RLIM_INFINITY else allowed


def _may_start_threads() -> bool:
    thread = threading.Thread(target=lambda: None)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True
