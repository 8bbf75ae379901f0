"""Tells of which cgroups a map has something else than when it was read last.

Most of thousands do nothing between two readings. What was read of them is compared as bytes, by numpy, so
that Python's objects are made of the others alone.
"""

import numpy as np
from numpy.typing import NDArray

from kmemtrace.tracer.maps import Records, as_words, mixed

Ids = NDArray[np.uint64]
_NONE: Ids = np.zeros(0, "u8")


class Remembered:
    """The elements of one map as they were read last; the first eight bytes of a key are a cgroup's id."""

    def __init__(self) -> None:
        self._keys = self._values = _NONE.reshape(0, 1)

    def changed(self, keys: Records, values: Records) -> Ids:
        """Remembers a reading, whose buffers may be used again afterwards.

        Args:
            keys: The keys; each is there once.
            values: Their values, in the same order.

        Returns:
            The ids of the cgroups of which an element is new, another one, or not there any more; an id may
            be there several times.
        """
        before, old = self._keys, self._values
        now, new = self._keys, self._values = as_words(np.array(keys)), as_words(np.array(values))
        if len(before) == 0 or len(now) == 0:
            return np.concatenate((before[:, 0], now[:, 0]))
        if np.array_equal(now, before):
            found: Ids = now[(new != old).any(axis=1), 0]
            return found
        at = _places(now, before)
        same = (now == before[at]).all(axis=1)
        left = np.ones(len(before), bool)
        left[at[same]] = False
        same &= (new == old[at]).all(axis=1)
        return np.concatenate((before[left, 0], now[~same, 0]))


def _places(now: Ids, before: Ids) -> NDArray[np.intp]:
    """Returns for each key where it may have stood before; whether it did has to be looked at."""
    sought, known = mixed(now), mixed(before)
    order = np.argsort(known)
    found = np.searchsorted(known, sought, sorter=order)
    return order[np.minimum(found, len(order) - 1)]
