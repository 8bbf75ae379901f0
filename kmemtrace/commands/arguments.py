"""Defines the types of command-line values, with errors a user understands."""

import argparse
import re
from collections.abc import Callable

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_PLAIN = re.compile(_NUMBER)
_PARTS = re.compile("".join(f"(?:({_NUMBER}){unit}(?![a-z]))?" for unit in _UNITS))
_LEAST, _MOST = 0.05, 366 * 86_400.0

_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(rf"({_NUMBER})([KMGT]?)B?")
_LEAST_BYTES, _MOST_BYTES = 1 << 20, 1 << 50

OFF = "off"
DURATION = "DURATION"
"""What help calls the value of an option of type duration()."""
GRAMMAR = "A DURATION is written as 90s, 500ms, 5m, 1h30m or 2d; a plain number is seconds."


def duration(text: str) -> float:
    """Returns the seconds that a text says: 90, 2.5, 90s, 500ms, 5m, 1h30m or 2d."""
    if _PLAIN.fullmatch(text):
        seconds = float(text)
    elif text and (parts := _PARTS.fullmatch(text)):
        seconds = sum(float(n) * size for n, size in zip(parts.groups(), _UNITS.values(), strict=True) if n)
    else:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration: write it as 90s, 500ms, 5m, 1h30m or 2d, or as a number of seconds"
        )
    if not _LEAST <= seconds <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 50ms and 366d")
    return seconds


def duration_or_off(text: str) -> float | str:
    """Returns what duration() does, or OFF."""
    return OFF if text == OFF else duration(text)


def size(text: str) -> int:
    """Returns the bytes that a text says: 1048576, 512K, 500M, 2.5G."""
    found = _SIZE.fullmatch(text.upper())
    number = int(float(found[1]) * _BINARY[found[2]]) if found else 0
    if not _LEAST_BYTES <= number <= _MOST_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no size from 1M to 1024T, such as 500M or 2.5G")
    return number


def up_to(most: int) -> Callable[[str], int]:
    """Returns what reads a whole number from 1 to `most`."""

    def number(text: str) -> int:
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return number


entries = up_to(1 << 26)
"""Reads the number of a map's entries."""
