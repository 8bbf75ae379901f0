"""Reads the sums that the programs keep in places of arrays, and gives places back (probes/sums.h)."""

import mmap
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kmemtrace.tracer.capacity import PLACES_OF_A_KEY
from kmemtrace.tracer.maps import HashMap, Records, Words, as_words, mixed


class HasMaps(Protocol):
    """Programs, compiled."""

    def mapped(self, name: str, size: int) -> mmap.mmap:
        """Maps an array into this process."""

    def map_fd(self, name: str) -> int:
        """Returns a map's descriptor."""


class Places:
    """Sums by key: an array of keys and one of sums, which the kernel has mapped into this process.

    The first eight bytes of a key are a cgroup's id. All zero are no key's.
    """

    def __init__(
        self, programs: HasMaps, name: str, key: np.dtype[Any], value: np.dtype[Any], room: int
    ) -> None:
        """Maps the arrays.

        Args:
            programs: The programs that count, compiled.
            name: What is counted of, in the singular: the maps are named by it.
            key: Layout of a key.
            value: Layout of the sums.
            room: Of how many keys there can be sums.

        Raises:
            RefusedError: The kernel refuses.
        """
        count = room * PLACES_OF_A_KEY
        keys = programs.mapped(f"{name}_keys", count * key.itemsize)
        sums = programs.mapped(f"{name}s", count * value.itemsize)
        self._keys: NDArray[Any] = np.frombuffer(keys, key, count)
        self._words: Words = as_words(self._keys)
        self._sums: NDArray[Any] = np.frombuffer(sums, value, count)
        self._claims = HashMap(programs.map_fd(f"{name}_claims"), np.dtype("u4"), key, 1)

    def read(self) -> tuple[Records, Records]:
        """Returns the keys and their sums, each key once; of all sums, each is of a moment of its own."""
        words = self._words
        at = np.flatnonzero((words[:, 0] != 0) & (words[:, -1] != 0))  # one in part is being entered
        return added_up(self._keys[at], self._sums[at])

    def forget(self, cgroups: Records) -> None:
        """Gives back the places of cgroups, by id, of which nothing is counted any more."""
        ids = self._words[:, 0].copy()  # the programs enter others meanwhile, and isin() looks twice
        for at in np.flatnonzero(np.isin(ids, cgroups)).tolist():
            self._sums[at] = np.zeros((), self._sums.dtype)
            for word in range(self._words.shape[1]):
                self._words[at, word] = 0
            self._claims.delete(at)  # last: now it is another's


def added_up(keys: Records, sums: Records) -> tuple[Records, Records]:
    """Returns each key once, with what is counted of it in all its places.

    A key has two where two CPUs took one for it while others were given back.
    """
    numbers = np.sort(mixed(as_words(keys)))
    if not (numbers[1:] == numbers[:-1]).any():
        return keys, sums
    first: dict[bytes, int] = {}
    at = [first.setdefault(key.tobytes(), place) for place, key in enumerate(keys)]
    whole = as_words(sums)
    added = np.zeros_like(whole)
    np.add.at(added, at, whole)
    once = np.fromiter(first.values(), np.intp, len(first))
    return keys[once], added.view(sums.dtype).reshape(-1)[once]
