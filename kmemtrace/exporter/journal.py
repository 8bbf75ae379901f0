"""Prints the evidence of mismatches to stderr, which a unit's journal or a pod's log keeps.

The metrics count mismatches only, and the tracer's own copy ends with the process.
"""

from collections import defaultdict

from kmemtrace.exporter.log import Level, Log
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.report.mismatch import lines

MOST_KINDS = 100
"""Most kinds of each confidence, so that however many are suspect there is room for those that are
certain."""


class Journal:
    """Prints each kind of mismatch once, when it is first seen, and only so many kinds."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: dict[str, set[tuple[object, ...]]] = defaultdict(set)
        """Kinds by confidence; what is over the limit is not kept, but for one that says that it was
        reached."""

    def tell(self, snapshot: Snapshot) -> None:
        for mismatch in sorted(snapshot.mismatches, key=lambda m: m.first_time):
            seen = self._seen[mismatch.confidence]
            if mismatch.kind in seen or len(seen) > MOST_KINDS:
                continue
            seen.add(mismatch.kind)
            words = "\n".join(lines(mismatch)) if len(seen) <= MOST_KINDS else _enough(mismatch.confidence)
            self._log.tell(Level.WARN, f"mismatch: {words}")


def _enough(confidence: str) -> str:
    return (
        f"{MOST_KINDS} kinds that are {confidence} have been printed, and no more are until the exporter "
        "starts anew; the metrics go on counting."
    )
