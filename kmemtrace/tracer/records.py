"""Reads the records of charged pages: those in the table of our own, and those in the hash map."""

import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kmemtrace.kernel.layout import Defines
from kmemtrace.tracer.capacity import RECORD_WAYS, Capacity, power_of_two
from kmemtrace.tracer.maps import HashMap, Records
from kmemtrace.tracer.structs import BUCKET

_TAKEN = np.uint64(1)
"""Bit of a page whose record is being written (RECORD_TAKEN in probes/records.h)."""
_OF_MAP = 4
"""The hash map beside the table has room for one page in so many. At four to a bucket a fifth of them need it
when the table is full, one in 28 when half of it is."""

_ROOM_FOR_CALLS = 2
"""Places for each call: one that finds its bucket full takes another's. When there are as many calls as
there is room for, one bucket in 19 is too full."""


class PageRecords(Protocol):
    """All records of pages."""

    def read(self) -> tuple[Records, Records]:
        """Returns the pages and their records, as views that are valid until the next reading."""


def defines(room: Capacity) -> Defines:
    """Returns the constants of programs that have such a table."""
    buckets = table_buckets(room)
    return {
        "RECORD_BUCKETS": buckets,
        "MAX_BUCKETS": buckets,
        "RECORD_WAYS": RECORD_WAYS,
        "MAX_PAGES": map_entries(room),
        "CALL_BUCKETS": power_of_two(_ROOM_FOR_CALLS * room.calls // RECORD_WAYS),
    }


def table_buckets(room: Capacity) -> int:
    """Returns how many buckets the table has for that many pages."""
    return max(2, power_of_two(-(-room.pages // RECORD_WAYS)))  # of one there is no bit to tell it by


def map_entries(room: Capacity) -> int:
    """Returns how many records the hash map beside the table has room for."""
    return max(1, room.pages // _OF_MAP)


class RecordTable:
    """The table, which the kernel has mapped into this process, and the hash map beside it."""

    def __init__(self, table: mmap.mmap, buckets: int, more: HashMap) -> None:
        self._buckets: NDArray[Any] = np.frombuffer(table, BUCKET, buckets)
        self._more = more

    def read(self) -> tuple[Records, Records]:
        """See PageRecords: each record is whole, all of them not of one instant."""
        table = self._buckets
        pages = table["page"].copy()
        at = np.nonzero((pages != 0) & (pages & _TAKEN == 0))
        charges = table["charge"][at]
        # One that was closed while it was read, and its place given to another, is of neither.
        whole = table["page"][at] == pages[at]
        more_pages, more_charges = self._more.read()
        if len(more_pages) == 0:
            return pages[at][whole], charges[whole]
        return (
            np.concatenate((pages[at][whole], more_pages)),
            np.concatenate((charges[whole], more_charges)),
        )
