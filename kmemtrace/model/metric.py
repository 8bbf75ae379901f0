"""What a metric is: its kind, what it means, its labels, and how it is read off a Snapshot."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from kmemtrace.model.snapshot import Snapshot

_Name = TypeVar("_Name", bound=str)
Labels = tuple[str, ...]
Values = Iterable[tuple[Labels, float]]
"""Each with the values of the labels, in their order."""
Reading = Values | float | None
"""A number is that of a metric without labels; None: it cannot be seen, and is left out."""
Read = Callable[[Snapshot], Reading]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"
    """Is 1; its labels tell. The text format knows no such kind: there it is a gauge."""


class Unit(StrEnum):
    """What a name ends with."""

    BYTES = "bytes"
    SECONDS = "seconds"
    PAGES = "pages"


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    text: str
    labels: Labels = ()
    read: Read | None = None
    """None where the exporter has a reader for it."""


def each(values: Mapping[_Name, float]) -> Values:
    """Of a metric with one label."""
    return [((name,), value) for name, value in values.items()]
