"""Has the kernel's functions by their addresses."""

import mmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NAME_AT = 19
"""Where the name begins in a line of the table, such as "ffffffff81000000 T _text" or "ffffffffc0001000 t
init\\t[module]"."""
_FUNCTIONS = np.frombuffer(b"tTwW", "u1")


class Before(NamedTuple):
    """The function that begins last before an address, or at it."""

    name: str
    offset: int
    """How far behind its begin the address is, in bytes."""


class FunctionTable:
    """One name of each function, sorted by address."""

    def __init__(self, listing: mmap.mmap | bytes) -> None:
        """Makes the table, in 60 ms.

        Args:
            listing: Lines as /proc/kallsyms has them; those that hide their addresses are left out.
        """
        data = np.frombuffer(listing, "u1")
        ends = np.flatnonzero(data == ord("\n"))
        begins = np.concatenate(([0], ends + 1))[:-1]
        # A name ends at the tab before its module's, where it has one.
        tabs = np.flatnonzero(data == ord("\t"))
        ends[np.searchsorted(ends, tabs)] = tabs
        kept = np.isin(data[begins + _NAME_AT - 2], _FUNCTIONS)
        begins, ends = begins[kept], ends[kept]
        addresses = _hexadecimal(data, begins)
        order = np.argsort(addresses, kind="stable")
        # Of names for the same address the first counts, as in the kernel's own stack traces.
        order = order[np.diff(addresses[order], prepend=np.uint64(0)) > 0]
        self._addresses = addresses[order]
        self._begins, self._ends, self._names = _cut(data, begins[order] + _NAME_AT, ends[order])

    def before(self, address: int) -> Before | None:
        """Returns the function before an address; None where there is none."""
        at = int(np.searchsorted(self._addresses, np.uint64(address), side="right")) - 1
        if at < 0:
            return None
        name = self._names[self._begins[at] : self._ends[at]].decode(errors="replace")
        return Before(name, address - int(self._addresses[at]))


def _cut(
    data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], bytes]:
    """Cuts these parts, which do not overlap, out of a text.

    Returns:
        Where each begins and ends in the new text, and that text.
    """
    edges = np.zeros(len(data) + 1, np.int8)
    edges[begins], edges[ends] = 1, -1
    inside = np.cumsum(edges, dtype=np.int8, out=edges)[:-1].view(bool)
    lengths, order = ends - begins, np.argsort(begins, kind="stable")  # they are nearly sorted
    stops = np.empty_like(ends)
    stops[order] = np.cumsum(lengths[order])
    # In half of the memory: it is 1 MB of 121,750 functions.
    return (stops - lengths).astype("u4"), stops.astype("u4"), data[inside].tobytes()


def _hexadecimal(data: NDArray[np.uint8], begins: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns the numbers of 16 hexadecimal digits that begin at these places."""
    numbers = np.zeros(len(begins), np.uint64)
    for place in range(16):  # all at a time would take as much memory as the table
        digits = data[begins + place]
        numbers = numbers << np.uint64(4) | (digits & 15) + np.where(digits > ord("9"), 9, 0).astype("u1")
    return numbers
