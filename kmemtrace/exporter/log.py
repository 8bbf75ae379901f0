"""Writes what the exporter says on stderr while it runs.

Strangers can cause some of it, so that of each kind there is a line a minute at most, with a count, and no
line is long or speaks to the terminal.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from kmemtrace.printable import printable

MINUTE = 60.0
_LONGEST = 300
_MOST_KINDS = 64
"""Most kinds that are told apart: libraries may make up kinds of their own, by what they put into a
message."""
_ANYTHING_ELSE = "anything else"


class Level(IntEnum):
    """How important a line is, as --log.level names it, which are Prometheus's names."""

    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARN = logging.WARNING
    ERROR = logging.ERROR


@dataclass(slots=True)
class _Kind:
    told_at: float
    more: int = 0
    """How many were not told since the last line."""
    last: str = ""


class Log:
    """Writes lines; it may be used from several threads at once."""

    def __init__(self, level: Level = Level.INFO, clock: Callable[[], float] = time.monotonic) -> None:
        """Writes from this level on; `clock` gives seconds that never go backwards."""
        self._level, self._clock = level, clock
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()

    def tell(self, level: Level, text: str) -> None:
        """Prints a text as it is: for what no stranger can cause more of."""
        if level >= self._level:
            _print(text)

    def complain(self, level: Level, kind: str, words: str) -> None:
        """Prints the first of a kind, and how many more of it come within a minute."""
        if level < self._level:
            return
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                kind = _ANYTHING_ELSE
            known = self._kinds.get(kind)
            if known is None or (not known.more and self._clock() - known.told_at >= MINUTE):
                self._kinds[kind] = _Kind(self._clock())
                _print(_line(words))
            else:
                known.more, known.last = known.more + 1, words[:_LONGEST]

    def flush(self, *, now: bool = False) -> None:
        """Tells the counts whose minute is over, or all; it is called now and then, and at the end."""
        with self._lock:
            for kind in self._kinds.values():
                if kind.more and (now or self._clock() - kind.told_at >= MINUTE):
                    again = "once more" if kind.more == 1 else f"{kind.more:,} more of this kind"
                    _print(f"{_line(kind.last)} ({again} since the line before)")
                    kind.told_at, kind.more = self._clock(), 0

    @contextlib.contextmanager
    def instead_of(self, *names: str) -> Iterator[None]:
        """Tells here what libraries log under these names, in a line without a traceback."""
        handler = _Handler(self)
        loggers = [(one, one.propagate) for one in map(logging.getLogger, names)]
        for logger, _ in loggers:
            logger.addHandler(handler)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, propagate in loggers:
                logger.removeHandler(handler)
                logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            words = f"{words}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        level = max((one for one in Level if one <= record.levelno), default=Level.DEBUG)
        # The message before anything is put into it.
        self._log.complain(level, f"{record.name} {record.msg}", f"{record.name}: {words}")


def _line(words: str) -> str:
    short = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
    return printable(" ".join(short.split()))


def _print(words: str) -> None:
    """Prints a line; a log that cannot be written to must not end what it tells of."""
    with contextlib.suppress(OSError):
        print(f"kmemtrace: {words}", file=sys.stderr, flush=True)
