"""Makes the last line: what the keys do, as far as it fits."""

from rich.text import Text

from kmemtrace import text
from kmemtrace.model.view import View
from kmemtrace.tui import style

TYPING = "Enter keeps the filter  Escape clears it"
"""The line while the filter is typed, when every other key is a letter of it."""


def hints(width: int, view: View, holding: list[tuple[int, str]], *, counting: bool) -> Text:
    """Names the keys that matter most; what is left out is on the help screen, which is always named.

    `holding` are those that hold what is shown, each with its worth.
    """
    parts = [
        (90, "Enter sites"),
        (80, "s sort"),
        (40, "r reverse"),
        (85, "/ filter"),
        *([(95, "Escape clear")] if view.filter else []),
        *([(95, "Escape from start")] if counting and not view.filter else []),
        *holding,
        (94, "t flat") if view.tree else (60, "t tree"),
        *([(93, "←→ fold")] if view.tree else []),
        (94, "d all") if view.dead_only else (65, "d dead"),
        (50, "c count from now"),
        (30, "m mismatches"),
        (100, "? help"),
        (99, "q quit"),
    ]
    return keys(text.fitted(parts, width))


def keys(line: str) -> Text:
    """Makes the keys, which are the first words of the parts, stand out."""
    found = Text(line, style.FAINT)
    found.highlight_regex(r"(?:^|(?<=  ))\S+", style.KEY)
    return found
