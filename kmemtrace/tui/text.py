"""Numbers and names as short text, the same in every view."""

import math

from kmemtrace.report.printable import printable

NOTHING = "-"


def size(number: int) -> str:
    """Bytes in binary units: "0", "812K", "1.5M"."""
    return _scaled(number, 1024, ("", "K", "M", "G", "T", "P"))


def rate(per_second: float | None) -> str:
    """ "0", "0.4", "12", "1.2k"."""
    if per_second is None:
        return NOTHING
    if 0 < per_second < 0.05:
        return "<0.1"
    return _scaled(per_second, 1000, ("", "k", "M", "G"))


def duration(seconds: float | None) -> str:
    """ "3.4µs", "12ms", "1.5s", "1m07s", "3h12m", "4d06h"; ">4.9h" from an open bucket."""
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


def shortened(name: str, width: int) -> str:
    """The end of a name tells more than its beginning: "…pods/pod1234/nginx"."""
    name = printable(name)
    if len(name) <= width:
        return name
    return "…" + name[len(name) - width + 1 :] if width > 1 else name[:width]


def cut(text: str, width: int) -> str:
    """The beginning of a sentence or symbol."""
    text = printable(text)
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def fitted(parts: list[tuple[int, str]], width: int) -> str:
    """(worth, words) joined to a line; where there is no room the words of least worth go first."""
    chosen = [part for part in parts if part[1]]
    while len(chosen) > 1 and sum(len(words) + 2 for _, words in chosen) - 2 > width:
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
