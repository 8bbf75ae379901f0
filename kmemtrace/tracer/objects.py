"""Reads the objects of the slab that are followed, and ends the records whose free was not seen."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.plan import ObjectRoom
from kmemtrace.kernel.symbols import Symbols
from kmemtrace.kernel.test_run import test_run
from kmemtrace.model.losses import MapFill
from kmemtrace.model.objects import ObjectSite, added_objects
from kmemtrace.tracer.maps import ArrayMap, HashMap
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sites import UNKNOWN, function
from kmemtrace.tracer.structs import CACHE_TOLD, CACHES_KNOWN, ID, OBJECT, OBJECT_KEY, OBJECT_SUMS

OBJECT_BATCH = 128
"""Records that are inspected by one system call."""

_OWNER_POINTER = 8
"""Bytes of the pointer to its owner that an object is charged with."""
_LARGEST_SIZE = 1 << 16
"""Bound of sizes: what is less is no cache's address but a size."""
_AT_ONCE = 1 << 15
"""Records that are inspected for one snapshot at most: 24 ms."""
_REST = 100.0
"""Seconds between two inspections for each second that one takes: a hundredth of one CPU at most."""


class Objects:
    """Reads the maps of objects, and has records ended whose objects went unseen."""

    def __init__(self, programs: Programs, room: ObjectRoom, symbols: Symbols) -> None:
        fd = programs.map_fd
        self._program, self._symbols = programs.fd, symbols
        self._objects = HashMap(fd("objects"), ID, OBJECT, room.objects)
        self._sites = HashMap(fd("object_sites"), OBJECT_KEY, OBJECT_SUMS, room.sites)
        self._batch = ArrayMap(fd("object_batch"), ID, OBJECT_BATCH)
        self._known = ArrayMap(fd("caches_known"), CACHES_KNOWN)
        self._told = ArrayMap(fd("cache_told"), CACHE_TOLD)
        self._caches: dict[int, tuple[str, int]] = {}
        self._functions: dict[int, str] = {}
        self._keys: dict[int, list[tuple[int, int, int]]] = {}
        self._held = self._filled = 0
        self._inspect_at = 0.0

    def read(self) -> Mapping[int, tuple[ObjectSite, ...]]:
        """Returns the sites by cgroup."""
        self._known[0] = np.zeros(1, CACHES_KNOWN)
        if kernel_seconds() >= self._inspect_at:
            begin = kernel_seconds()
            self._inspect()
            end = kernel_seconds()
            self._inspect_at = end + _REST * (end - begin)
        keys, sums = self._sites.read()
        found: dict[int, list[ObjectSite]] = defaultdict(list)
        self._keys = defaultdict(list)
        for key, counts in zip(keys.tolist(), sums.tolist(), strict=True):
            name, size = self._cache(key[1])
            self._keys[key[0]].append(key)
            charged, freed, failed = counts
            found[key[0]].append(ObjectSite(name, self._function(key[2]), charged, freed, failed, size))
        self._filled = len(keys)
        self._held = int(sums["charged"].sum() - sums["freed"].sum())
        return {cgroup: added_objects(sites) for cgroup, sites in found.items()}

    def forget(self, cgroup: int) -> None:
        """Forgets a cgroup that is gone and holds nothing."""
        for key in self._keys.pop(cgroup, []):
            self._sites.delete(key)

    def fill(self) -> dict[str, MapFill]:
        """Returns how full the maps are, as last read."""
        return {
            "objects": MapFill(max(0, self._held), self._objects.capacity),
            "object_sites": MapFill(self._filled, self._sites.capacity),
        }

    def _inspect(self) -> None:
        """Ends the records of objects that are free, or another's, among the next ones."""
        objects = self._objects.next_keys(_AT_ONCE)
        program = self._program("inspect_objects")
        for begin in range(0, len(objects), OBJECT_BATCH):
            some = objects[begin : begin + OBJECT_BATCH]
            self._batch[0] = np.pad(some, (0, OBJECT_BATCH - len(some)))
            test_run(program)

    def _cache(self, address: int) -> tuple[str, int]:
        """Returns a cache's name, and the bytes that one of its objects is charged with.

        Of an object that was refused some kernels tell no more than its size.
        """
        known = self._caches.get(address)
        if known is not None:
            return known
        if address < _LARGEST_SIZE:
            found = f"({address} bytes)", address + _OWNER_POINTER
        else:
            test_run(self._program("describe_cache"), address)
            told = self._told[0][0]
            name = bytes(told["name"]).partition(b"\0")[0].decode(errors="backslashreplace")
            found = name or UNKNOWN, int(told["size"]) + _OWNER_POINTER
        self._caches[address] = found
        return found

    def _function(self, address: int) -> str:
        name = self._functions.get(address)
        if name is None:
            name = function(self._symbols.function(address) or UNKNOWN)
            self._functions[address] = name
        return name
