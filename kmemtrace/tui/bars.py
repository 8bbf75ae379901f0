"""Draws histograms as bars."""

import math
from collections.abc import Mapping
from itertools import pairwise

from kmemtrace import text
from kmemtrace.model.histogram import Histogram, upper_bound_seconds

_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars(latency: Mapping[str, Histogram], width: int) -> str:
    """Draws histograms, one bucket a line, from the first to the last that counts something.

    A dot stands for several buckets that count nothing.
    """
    return "\n".join(_bars(name, histogram, width) for name, histogram in latency.items())


def _bars(name: str, histogram: Histogram, width: int) -> str:
    used = [i for i, n in enumerate(histogram.counts) if n]
    if not used:
        return f"{name}: none timed yet"
    most, room = max(histogram.counts), max(8, min(_BAR, width - 30))
    mean = histogram.sum_ns / 1e9 / histogram.count
    lines = [f"{name}: {histogram.count:,} timed, mean {text.duration(mean)}"]
    for before, i in pairwise([used[0] - 1, *used]):
        # One empty bucket is shown as such, more of them would only fill the screen.
        lines += [_line(before + 1, 0, "", room)] if i - before == 2 else []
        lines += [f"{'.':>11}"] if i - before > 2 else []
        n = histogram.counts[i]
        lines.append(_line(i, n, bar(n, most, room), room))
    return "\n".join(lines)


def _line(index: int, count: int, bar: str, room: int) -> str:
    return f"{_bucket(index)} {bar:{room}} {count:,}"


def _bucket(index: int) -> str:
    bound = upper_bound_seconds(index)
    return f"    {text.duration(bound):>7}" if math.isinf(bound) else f"  < {text.duration(bound):>7}"


def bar(part: int, whole: int, width: int) -> str:
    """Draws a bar as long as the part is of the whole, to an eighth of a character.

    Something is never drawn as nothing.
    """
    eighths = min(8 * width, -(-8 * width * part // whole)) if whole > 0 and part > 0 else 0
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
