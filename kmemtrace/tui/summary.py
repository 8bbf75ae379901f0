"""The lines above the table: totals, and how far they can be trusted."""

from kmemtrace.model.snapshot import Losses, Snapshot
from kmemtrace.tui import text


def totals(snapshot: Snapshot, previous: Snapshot | None) -> str:
    """Held and rates of the whole machine, since `previous` (None: since the start)."""
    charged = snapshot.charged_pages - (previous.charged_pages if previous else 0)
    uncharged = snapshot.uncharged_pages - (previous.uncharged_pages if previous else 0)
    seconds = snapshot.interval_seconds or 1.0
    held = text.size(snapshot.held_pages * snapshot.page_size)
    words = [
        f"held {held}",
        f"charge/s {text.rate(max(0, charged) / seconds)}",
        f"uncharge/s {text.rate(max(0, uncharged) / seconds)}",
        f"preexisting {_preexisting(snapshot)}",
        f"own maps {text.NOTHING if snapshot.own_bytes is None else text.size(snapshot.own_bytes)}",
    ]
    return "  ".join(words)


def losses(snapshot: Snapshot) -> str:
    """What was missed, always said; the tables' fill."""
    lost = snapshot.losses
    fill = "  ".join(
        f"{name} {100 * m.entries / m.capacity:.0f}%" for name, m in snapshot.maps.items() if m.capacity
    )
    return f"{_missed(lost)}  healed {lost.healed}  swept {lost.swept}  |  maps: {fill}"


def title(snapshot: Snapshot) -> str:
    return f"kmemtrace  {text.printable(snapshot.host)}  {snapshot.kernel}  {snapshot.tier.value} tier"


def unseen(snapshot: Snapshot) -> str:
    return f"not seen by the {snapshot.tier.value} tier: {', '.join(snapshot.unseen)}"


def _missed(lost: Losses) -> str:
    full = sum(lost.map_full.values())
    words = f"missed {lost.missed_events - full if lost.recursion_misses is not None else '?'}"
    return f"{words}  map full {full}"


def _preexisting(snapshot: Snapshot) -> str:
    if snapshot.preexisting_pages is None:
        return text.NOTHING
    return text.size(snapshot.preexisting_pages * snapshot.page_size)
