"""Tells of one mismatch with its evidence, in lines of text: the same on a terminal and in a report."""

from collections.abc import Sequence

from kmemtrace.model.mismatch import Mismatch
from kmemtrace.printable import printable


def lines(mismatch: Mismatch) -> list[str]:
    """Returns class, confidence and count first, then what was seen, then both stacks.

    Whoever may name a process or a cgroup writes no line of its own here, and does not speak to the terminal.
    """
    told = [
        _head(mismatch),
        *_cgroups(mismatch),
        *_where(mismatch),
        *_cost(mismatch),
        *(f"  seen: {event}" for event in mismatch.events),
        *_stack("charged at" if mismatch.charged_to else "asked for at", mismatch.alloc_stack),
        *_stack("ended at", mismatch.free_stack),
        *_elsewhere(mismatch),
    ]
    return [printable(line) for line in told]


def _head(mismatch: Mismatch) -> str:
    times = "" if mismatch.count == 1 else f", {mismatch.count:,} times"
    if mismatch.missed_events:
        events = "event was" if mismatch.missed_events == 1 else "events were"
        return (
            f"{mismatch.mismatch_class}: suspect{times}; {mismatch.missed_events:,} {events} missed "
            "meanwhile, which could explain it"
        )
    return f"{mismatch.mismatch_class}: {mismatch.confidence}{times}"


def _cgroups(mismatch: Mismatch) -> list[str]:
    if mismatch.mismatch_class == "uncharged_alloc":
        return [f"  should have been charged to {mismatch.charged_to}"]
    charged = mismatch.charged_to or "nobody that was seen"
    return [f"  charged to {charged}, uncharged from {mismatch.uncharged_from or 'nobody'}"]


def _where(mismatch: Mismatch) -> list[str]:
    if not mismatch.page:
        return []
    last = "the last: " if mismatch.count > 1 else ""
    by = f" by {mismatch.comm} ({mismatch.pid})" if mismatch.comm else ""
    charged, ended = (mismatch.page, mismatch.charged_pages), (mismatch.ended_page, mismatch.ended_pages)
    if not mismatch.charged_pages or mismatch.ended_page is None or charged == ended:
        return [f"  {last}page {mismatch.page:#x}, order {mismatch.order}{by}"]
    return [
        f"  {last}charged: {mismatch.charged_pages:,} from page {mismatch.page:#x} on",
        f"  {last}ended: {mismatch.ended_pages:,} from page {mismatch.ended_page:#x} on{by}",
    ]


def _cost(mismatch: Mismatch) -> list[str]:
    """Tells what all mismatches of this kind cost."""
    lost, taken = _pages(mismatch.lost_pages), _pages(mismatch.taken_pages)
    if not (mismatch.lost_pages or mismatch.taken_pages):
        return []
    would = "would cost" if mismatch.missed_events else "cost"
    if not mismatch.taken_pages:
        return [f"  {would}: {lost} for good on the counter that was charged"]
    if not mismatch.lost_pages:
        return [f"  {would}: {taken} off a counter that was never charged for it"]
    return [f"  {would}: {lost} for good on the counter that was charged, {taken} off the other"]


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count:,} pages"


def _elsewhere(mismatch: Mismatch) -> list[str]:
    if mismatch.host is None:
        return []
    return [f"  on {mismatch.host}: its exporter's log there has the evidence (journalctl -u kmemtrace)"]


def _stack(title: str, stack: Sequence[str]) -> list[str]:
    return [f"  {title}:", *(f"    {frame}" for frame in stack)] if stack else []
