"""Makes the time line of a recording: which moment is shown, where that is, and how it goes on."""

from rich.text import Text

from kmemtrace import text
from kmemtrace.model.frame import Frame
from kmemtrace.tui import style

_LEAST_BAR = 8
_PASSED, _HERE, _AHEAD = "━", "●", "─"


def timeline(frame: Frame, width: int, *, playing: bool, at_end: bool, speed: float, note: str) -> Text:
    """Makes the line, no wider than `width`; the bar takes what room there is."""
    how = "paused" if not playing else "at the end" if at_end else "playing"
    parts = [
        (100, f"{how:10}"),
        (98, text.moment(frame.snapshot.time)),
        (80, f"x{speed:g}"),
        (95, note),
    ]
    words = text.fitted(parts, width)
    line = Text(words)
    line.stylize(style.STRONG if playing else style.FROZEN, 0, len(how))
    length = width - text.width(words) - 2
    if length >= _LEAST_BAR:
        here = round(frame.part * (length - 1))
        line.append(f"  {_PASSED * here}", style.STRONG)
        line.append(_HERE, style.STRONG)
        line.append(_AHEAD * (length - 1 - here), style.FAINT)
    return line


def clicked(line: str, x: int) -> float | None:
    """Returns how far in the recording a click on the line is, from 0 to 1; None beside the bar."""
    at = [place for place, sign in enumerate(line) if sign in (_PASSED, _HERE, _AHEAD)]
    if not at or not at[0] <= x <= at[-1]:
        return None
    return (x - at[0]) / max(1, at[-1] - at[0])
