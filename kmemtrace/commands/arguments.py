"""Types of command-line values, with errors a user understands."""

import argparse
import math


def positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.05 <= seconds <= 366 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.05 on")
    return seconds


def entries(text: str) -> int:
    """A number of map entries."""
    if not text.isdigit() or not 1 <= int(text) <= 1 << 26:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {1 << 26}")
    return int(text)
