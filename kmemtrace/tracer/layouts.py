"""Holds how the elements of the BPF maps are read here against how they were compiled.

The structs are written twice, in probes/ and as numpy's dtypes. The compiler tells where it put each field:
what is read from elsewhere would be a number of nothing, and not an error.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from kmemtrace.errors import CannotError
from kmemtrace.tracer import structs
from kmemtrace.tracer.compiled import Element, Field

Layout = np.dtype[Any]


class HasMaps(Protocol):
    """Programs, as they were compiled."""

    def has_map(self, name: str) -> bool:
        """Returns whether this map was compiled in."""

    def elements(self, name: str) -> tuple[Element, Element]:
        """Returns key and value of a map."""


def layouts(latencies: tuple[str, ...]) -> Mapping[str, tuple[Layout, Layout]]:
    """Returns key and value of each map that has structs in them.

    Args:
        latencies: The latencies that struct totals ends with.
    """
    index = np.dtype("u4")
    return {
        "pages": (structs.ID, structs.CHARGE),
        "records": (index, structs.BUCKET),
        "cgroup_keys": (index, structs.ID),
        "cgroups": (index, structs.totals_dtype(latencies)),
        "cgroup_claims": (index, structs.ID),
        "site_keys": (index, structs.SITE_KEY),
        "sites": (index, structs.SITE),
        "site_claims": (index, structs.SITE_KEY),
        "lives": (structs.ID, structs.LIFE),
        "failures": (structs.FAILURE_KEY, structs.ID),
        "allocations": (index, structs.LATENCY),
        "adoptions": (index, structs.ADOPTION),
        "searches": (index, structs.SEARCH),
        "inspections": (index, structs.INSPECTION),
        "departures": (structs.ID, structs.DEPARTURE),
        "objects": (structs.ID, structs.OBJECT),
        "object_sites": (structs.OBJECT_KEY, structs.OBJECT_SUMS),
        "cache_told": (index, structs.CACHE_TOLD),
        "caches_known": (index, structs.CACHES_KNOWN),
        "hops": (index, structs.HOP),
        "lesson_layout": (index, structs.LESSON),
        "finding_layout": (index, structs.FINDING),
    }


def check_layouts(compiled: HasMaps, read: Mapping[str, tuple[Layout, Layout]]) -> None:
    """Compares all maps.

    Raises:
        CannotError: One is not read as it was compiled; the message names struct and field.
    """
    for name, expected in read.items():
        if not compiled.has_map(name):
            continue
        for part, element, layout in zip(("key", "value"), compiled.elements(name), expected, strict=True):
            wrong = difference(element, layout)
            if wrong is not None:
                raise CannotError(
                    f"The {part} of the BPF map {name} was compiled as struct {element.struct}, in which "
                    f"{wrong}. The parts of kmemtrace do not fit together: install it again."
                )


def difference(element: Element, layout: Layout) -> str | None:
    """Says where the two differ first; None where they do not."""
    compiled, read = element.fields, list(_read(layout))
    for one, other in zip(compiled, read, strict=False):
        if one[1:] != other[1:] or (one[0] and other[0] and one[0] != other[0]):
            return f"{_words(one)}, and is read as {other[0] or 'a number'} of {other[2]} bytes at {other[1]}"
    if len(compiled) != len(read):
        longer = (compiled if len(compiled) > len(read) else read)[min(len(compiled), len(read))]
        only = "not read" if len(compiled) > len(read) else "read, and is not there"
        return f"the field {longer[0]} is {only}"
    if element.size != layout.itemsize:
        return f"an element has {element.size} bytes, and is read with {layout.itemsize}"
    return None


def _words(field: Field) -> str:
    name, offset, size = field
    return f"{name or 'the number'} has {size} bytes at {offset}"


def _read(layout: Layout, name: str = "", begin: int = 0) -> Iterator[Field]:
    if layout.fields is None:
        yield name, begin, layout.itemsize
        return
    for one in layout.names or ():
        type_, offset = layout.fields[one][:2]
        yield from _read(type_, one, begin + offset)
