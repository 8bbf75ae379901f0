"""Writes numbers and names as short text, the same in every view.

Widths are columns of the screen, which is not the number of characters: one may take two, or none.
"""

import math
from datetime import UTC, datetime

from rich.cells import cell_len

from kmemtrace.printable import printable

NOTHING = "-"


def function(frame: str) -> str:
    """Returns the function of a frame that is written as function+0xoffset."""
    return frame.partition("+")[0]


def width(text: str) -> int:
    """Returns how many columns of the screen a text takes."""
    return cell_len(text)


def size(number: int) -> str:
    """Writes bytes in binary units: "0", "812K", "1.5M"."""
    return _scaled(number, 1024, ("", "K", "M", "G", "T", "P"))


def change(number: int) -> str:
    """Writes bytes more or less: "+1.5M", "-812K", "0"."""
    return f"+{size(number)}" if number > 0 else size(number)


def share(part: int, whole: int) -> str:
    """Writes a part as "42%"; "<1%" is not nothing, and "-" is a part of nothing."""
    if whole <= 0:
        return NOTHING
    percent = 100 * part / whole
    return "<1%" if 0 < percent < 1 else f"{percent:.0f}%"


def count(number: int) -> str:
    """Writes a number, exact as long as that is short: "812", "34,120", "5.1M"."""
    return f"{number:,}" if abs(number) < 1_000_000 else _scaled(number, 1000, ("", "k", "M", "G", "T"))


def rate(per_second: float | None) -> str:
    """Writes a rate per second: "0", "0.4", "12", "1.2k"."""
    if per_second is None:
        return NOTHING
    if 0 < per_second < 0.05:
        return "<0.1"
    return _scaled(per_second, 1000, ("", "k", "M", "G"))


def duration(seconds: float | None) -> str:
    """Writes a time: "3.4µs", "12ms", "1.5s", "1m07s", "3h12m", "4d06h"; ">4.9h" from an open bucket."""
    if seconds is None:
        return NOTHING
    if math.isinf(seconds):
        return ">4.9h"
    for factor, unit in ((1e6, "µs"), (1e3, "ms"), (1.0, "s")):
        value = seconds * factor
        limit = 60 if unit == "s" else 1000
        if value < limit - 0.5:
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    minutes, hours, days = round(seconds) // 60, round(seconds) // 3600, round(seconds) // 86400
    if minutes < 60:
        return f"{minutes}m{round(seconds) % 60:02d}s"
    if hours < 24:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24:02d}h"


def moment(seconds: float) -> str:
    """Tells a time since the epoch in UTC, to the second."""
    return f"{utc(seconds)} UTC"


def utc(seconds: float) -> str:
    """As moment(), where it is said elsewhere that it is UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def epoch(iso: str) -> float:
    """Returns the seconds since the epoch of date and time as ISO 8601 has them, in UTC without an offset.

    Raises:
        ValueError: It is no time.
    """
    found = datetime.fromisoformat(iso)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def shortened(name: str, width: int) -> str:
    """Keeps the end of a name, which tells more than its beginning: "…pods/pod1234/nginx"."""
    name = printable(name)
    if cell_len(name) <= width:
        return name
    if width <= 1:
        return "…"[:width]
    # A character has some marks above it at most: what has more is nobody's name.
    end = name[-4 * width :]
    while cell_len(end) > width - 1:
        end = end[1:]
    while end and not cell_len(end[0]):  # marks of a character that is gone
        end = end[1:]
    return "…" + end


def cut(text: str, width: int) -> str:
    """Keeps the beginning of a sentence or symbol."""
    text = printable(text)
    if cell_len(text) <= width:
        return text
    begin = text[: 4 * max(0, width)]
    while begin and cell_len(begin) > width - 1:
        begin = begin[:-1]
    return begin + "…"[:width]


def padded(text: str, width: int, *, left: bool = True) -> str:
    """Fills a text up with blanks to so many columns; it stands at its side of them."""
    blanks = " " * (width - cell_len(text))
    return text + blanks if left else blanks + text


def fitted(parts: list[tuple[int, str]], width: int) -> str:
    """Joins (worth, words) to a line; where there is no room the words of least worth go first."""
    chosen = [part for part in parts if part[1]]
    while len(chosen) > 1 and sum(cell_len(words) + 2 for _, words in chosen) - 2 > width:
        chosen.remove(min(chosen))
    return cut("  ".join(words for _, words in chosen), width)


def _scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    value, unit = abs(number), units[0]
    for unit in units:
        if value < base - 0.5 or unit == units[-1]:
            break
        value /= base
    sign = "-" if number < 0 else ""
    digits = f"{value:.1f}" if value < 9.95 and value != int(value) else f"{value:.0f}"
    return f"{sign}{digits}{unit}"


def kind_told(kind: str, symbol: str) -> str:
    """Returns a call site's kind in brackets; "" where what stands for its function says it already."""
    return "" if symbol.startswith("(") and kind in symbol else f"({kind})"
