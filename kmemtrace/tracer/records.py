"""Reads the records of charged pages: those in the table of our own, and those in the hash map."""

import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kmemtrace.tracer.maps import HashMap, Records
from kmemtrace.tracer.structs import BUCKET

_TAKEN = np.uint64(1)
"""Bit of a page whose record is being written (RECORD_TAKEN in probes/records.h)."""


class PageRecords(Protocol):
    """All records of pages."""

    def read(self) -> tuple[Records, Records]:
        """Returns the pages and their records, as views that are valid until the next reading."""


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
