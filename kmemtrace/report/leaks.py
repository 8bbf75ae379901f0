"""Makes the report of `kmemtrace leaks`, as text, JSON and folded stacks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from kmemtrace.model.document import old_pages_document
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import SCHEMA_VERSION, OldPages, Snapshot
from kmemtrace.printable import printable
from kmemtrace.text import function


def report(snapshot: Snapshot, old: Sequence[OldPages], older_than: float) -> str:
    pages = sum(o.pages for o in old)
    head = (
        f"{pages:,} pages ({_mib(pages, snapshot)}) charged since the start are held for longer than "
        f"{older_than:g} s, of {snapshot.held_pages:,} held"
    )
    missed = snapshot.losses.missed_events
    notes = [f"{missed:,} events were missed: some of these pages may have ended"] if missed else []
    lines = [head, *notes, *(line for one in old for line in ["", *_lines(one, snapshot)])]
    return "\n".join(map(printable, lines))


def _lines(old: OldPages, snapshot: Snapshot) -> list[str]:
    dead = " (removed)" if old.state is CgroupState.DEAD else ""
    return [
        (
            f"{old.pages:,} pages ({_mib(old.pages, snapshot)}), the oldest {old.oldest_seconds:,.0f} s, "
            f"{old.kind.value} {old.symbol}"
        ),
        f"  charged to {old.path}{dead}",
        *(f"    {frame}" for frame in old.stack),
    ]


def _mib(pages: int, snapshot: Snapshot) -> str:
    return f"{pages * snapshot.page_size / (1 << 20):,.1f} MiB"


def folded(old: Sequence[OldPages]) -> list[str]:
    """Folds stacks into lines `cgroup;outermost;...;innermost pages`, as flame graph tools read them.

    Equal stacks are added up; those with most pages come first.
    """
    sums: dict[str, int] = defaultdict(int)
    for one in old:
        frames = [*map(function, reversed(one.stack))] or [one.symbol]
        path = printable(one.path).replace(";", ":").replace(" ", "_")
        sums[";".join([path, *frames])] += one.pages
    return [f"{stack} {pages}" for stack, pages in sorted(sums.items(), key=lambda s: -s[1])]


def leaks_document(
    snapshot: Snapshot, old: Sequence[OldPages], older_than: float, *, interrupted: bool = False
) -> dict[str, Any]:
    """Makes the JSON document.

    Args:
        snapshot: What was read last.
        old: The pages that are told of.
        older_than: Seconds that they are held for at least.
        interrupted: Whether it was asked to watch for longer.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "time": snapshot.time,
        "host": snapshot.host,
        "kernel": snapshot.kernel,
        "tier": snapshot.tier.value,
        "page_size": snapshot.page_size,
        "older_than_seconds": older_than,
        "watched_seconds": snapshot.watched_seconds,
        "interrupted": interrupted,
        "held_pages": snapshot.held_pages,
        "missed_events": snapshot.losses.missed_events,
        "leaks": [old_pages_document(one, snapshot.page_size) for one in old],
    }
