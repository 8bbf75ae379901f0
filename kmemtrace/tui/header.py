"""Makes the lines above the table, in colours that say what of them is news."""

import re

from rich.text import Text

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.tui import style, summary

_NUMBERS = re.compile(r"(?<=[ ])[\d.]+[KMGTPk]?(?=  |$)")
_LOST = re.compile(r"(missed|map full) [1-9]\d*( \([^)]*\))?")


def header(
    latest: Snapshot, since: Snapshot | None, width: int, marks: str, frozen: str, interval: float | None
) -> Text:
    """Makes the lines for `latest`, with rates since `since` (None: since the start)."""
    title = Text(summary.title(latest, width, marks, frozen, interval))
    title.highlight_words(["kmemtrace", latest.host], style.STRONG)
    title.highlight_words([marks], style.FAINT)
    title.stylize(style.FROZEN, 0, len(frozen))
    totals = Text(summary.totals(latest, since, width))
    totals.highlight_regex(_NUMBERS, style.STRONG)
    totals.stylize(style.BROKEN, 0, len(summary.mismatch_words(latest)))
    losses = Text(summary.losses(latest, width), style.FAINT)
    losses.highlight_regex(_LOST, style.LOST)
    return Text("\n").join([title, totals, losses])
