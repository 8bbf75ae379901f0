"""Makes the lines above the table: totals, and how far they can be trusted; none is wider than `width`."""

from collections import Counter

from kmemtrace import text
from kmemtrace.model.enums import Confidence
from kmemtrace.model.losses import Losses, MapFill
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View


def title(
    snapshot: Snapshot, width: int, marks: str = "", frozen: str = "", interval: float | None = None
) -> str:
    """Tells what is watched and how.

    `frozen` comes first and `marks` last, and both before the rest where there is no room.
    """
    parts = [
        (100, frozen),
        (50, "kmemtrace"),
        (60, text.shortened(snapshot.host, 32)),
        (40, snapshot.kernel),
        (45, f"{snapshot.tier.value} tier{'' if snapshot.hosts is None else ' or better'}"),
        (30, "" if interval is None else f"every {interval:g}s"),
        (90, marks),
    ]
    return text.fitted(parts, width)


def marks(view: View, counted_seconds: float | None = None) -> str:
    """Tells what of the view is not to be seen from the table itself.

    The time since a baseline is told with it, if there is one.
    """
    words = [f"sort {view.sort.value}{' reversed' if view.reverse else ''}"]
    words += [word for word, on in (("tree", view.tree), ("dead only", view.dead_only)) if on]
    words += [f"filter {text.cut(view.filter, 32)!r}"] if view.filter else []
    words += [] if counted_seconds is None else [f"counted for {text.duration(counted_seconds)}"]
    return f"[{', '.join(words)}]"


def totals(snapshot: Snapshot, previous: Snapshot | None, width: int) -> str:
    """Tells held pages and rates of the whole machine, since `previous` (None: since the start)."""
    charged = snapshot.charged_pages - (previous.charged_pages if previous else 0)
    uncharged = snapshot.uncharged_pages - (previous.uncharged_pages if previous else 0)
    seconds = snapshot.seconds_since(previous)
    own = text.NOTHING if snapshot.own_bytes is None else text.size(snapshot.own_bytes)
    parts = [
        (95, mismatch_words(snapshot)),
        (94, _lost(snapshot)),
        (96, _kernel(snapshot)),
        (100, f"held {text.size(snapshot.held_pages * snapshot.page_size)}"),
        (90, f"charge/s {_rate(charged, seconds)}"),
        (80, f"uncharge/s {_rate(uncharged, seconds)}"),
        (75, _census(snapshot)),
        (60, f"own maps {own}"),
    ]
    return text.fitted(parts, width)


def _kernel(snapshot: Snapshot) -> str:
    """Tells all kernel memory that was charged, by the kernel's own count, as of the last census."""
    accounts = (c.account for c in snapshot.cgroups if c.account is not None)
    charged = [a.kernel_bytes for a in accounts if a.kernel_bytes is not None]
    return f"kernel {text.size(sum(charged))}" if charged else ""


def _census(snapshot: Snapshot) -> str:
    return "" if snapshot.census is None else f"census {text.duration(snapshot.census.age_seconds)} ago"


def _lost(snapshot: Snapshot) -> str:
    pages = snapshot.lost_pages
    return f"LOST {text.size(pages * snapshot.page_size)}" if pages else ""


def _rate(pages: int, seconds: float) -> str:
    return text.rate(max(0, pages) / seconds) if seconds > 0 else text.NOTHING


def mismatch_words(snapshot: Snapshot) -> str:
    """Counts the mismatches in words; empty while there are none."""
    counts = Counter[Confidence]()
    for mismatch in snapshot.mismatches:
        counts[mismatch.confidence] += mismatch.count
    words = ", ".join(f"{counts[c]:,} {c}" for c in Confidence if counts[c])
    return f"MISMATCHES {words}" if words else ""


def losses(snapshot: Snapshot, width: int) -> str:
    """Tells what was missed, always and whole, and how full the tables are.

    The fill is told of all, or of the fullest, as far as there is room.
    """
    lost = lost_words(snapshot.losses)
    for fill in _fills(snapshot):
        line = f"{lost}  |  {fill}"
        if len(line) <= width:
            return line
    return lost


def lost_words(lost: Losses) -> str:
    full = lost.refused_entries
    which = ", ".join(name for name, count in lost.map_full.items() if count)
    where = f" ({which})" if which else ""
    missed = lost.missed_events - full if lost.recursion_misses is not None else "?"
    return f"missed {missed}  map full {full}{where}  healed {lost.healed}  swept {lost.swept}"


def unseen(snapshot: Snapshot) -> str:
    by = "on all hosts" if snapshot.hosts is not None else f"by the {snapshot.tier.value} tier"
    return f"not seen {by}: {', '.join(snapshot.unseen)}"


def _fills(snapshot: Snapshot) -> list[str]:
    """Returns ways to tell how full the maps are, from the longest form to the shortest."""
    fills = {name: _fill(fill) for name, fill in snapshot.maps.items() if fill.capacity}
    if not fills:
        return []
    fullest = max(fills, key=lambda name: fills[name])
    return [
        "maps: " + "  ".join(f"{name} {fill:.0f}%" for name, fill in fills.items()),
        f"fullest map {fullest} {fills[fullest]:.0f}%",
        f"{fullest} {fills[fullest]:.0f}%",
    ]


def _fill(fill: MapFill) -> float:
    return 100 * fill.entries / fill.capacity
