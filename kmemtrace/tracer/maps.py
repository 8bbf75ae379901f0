"""Reads whole BPF maps into numpy arrays, and single elements."""

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmemtrace.foreign import libbpf
from kmemtrace.tracer.capacity import MIX
from kmemtrace.tracer.structs import LATENCY

Records = NDArray[Any]
Words = NDArray[np.uint64]


def possible_cpus() -> int:
    """Returns how many values an element of a per-CPU map has."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(re.split("[-,]", text.strip())[-1]) + 1


def sum_of(latencies: Records) -> Records:
    """Returns one struct latency that adds up those of all CPUs."""
    total = np.zeros((), LATENCY)
    total["ns"], total["counts"] = latencies["ns"].sum(), latencies["counts"].sum(axis=0)
    return total


def as_words(records: Records) -> Words:
    """Returns records, not copied, as rows of eight bytes each; the structs are made of such."""
    return records.view("u8").reshape(len(records), records.itemsize // 8)


def mixed(keys: Words) -> Words:
    """Returns one number for each key; those of two keys may be the same."""
    found = keys[:, 0].copy()
    for word in keys.T[1:]:
        found = found * np.uint64(MIX) + word
    return found


class HashMap:
    """Reads one BPF hash map; its buffers are kept, so that a reading allocates nothing."""

    def __init__(self, fd: int, key: np.dtype[Any], value: np.dtype[Any], capacity: int) -> None:
        self._lib = libbpf()
        self._fd = fd
        self.capacity = capacity
        self._keys = np.zeros(capacity, key)
        self._values = np.zeros(capacity, value)
        self._batches = True
        self._token: int | None = None

    def read(self) -> tuple[Records, Records]:
        """Reads all keys and values; each element whole, the map as a whole not at one instant.

        Returns:
            Keys and values, as views that are valid until the next reading.
        """
        count = self._read_batch() if self._batches else None
        if count is None:
            self._batches = False
            count = self._read_one_by_one()
        return self._keys[:count], self._values[:count]

    def next_keys(self, most: int) -> Records:
        """Returns up to so many keys: those after the ones that the last call gave.

        It goes on from the begin when it came to the end. The keys are a view, as read()'s. Only kernels from
        5.6 on have the call for it.
        """
        count = ctypes.c_uint32(min(most, self.capacity))
        token = ctypes.c_uint32(0)
        result = self._lib.bpf_map_lookup_batch(
            self._fd,
            None if self._token is None else ctypes.byref(ctypes.c_uint32(self._token)),
            ctypes.byref(token),
            self._keys.ctypes.data,
            self._values.ctypes.data,
            ctypes.byref(count),
            None,
        )
        self._token = token.value if result == 0 else None
        if result != 0 and ctypes.get_errno() != errno.ENOENT:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return self._keys[: count.value]

    def delete(self, key: Any) -> None:
        """Removes an element; that it is gone already is no error."""
        one = np.array([key], self._keys.dtype)
        self._lib.bpf_map_delete_elem(self._fd, one.ctypes.data)

    def _read_batch(self) -> int | None:
        """Reads the whole map by one system call; None before 5.6, which has no such call."""
        count = ctypes.c_uint32(self.capacity)
        token = ctypes.c_uint32(0)
        result = self._lib.bpf_map_lookup_batch(
            self._fd,
            None,
            ctypes.byref(token),
            self._keys.ctypes.data,
            self._values.ctypes.data,
            ctypes.byref(count),
            None,
        )
        if result == 0 or ctypes.get_errno() in (errno.ENOENT, errno.ENOSPC):
            return count.value
        if ctypes.get_errno() == errno.EINVAL:
            return None
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _read_one_by_one(self) -> int:
        count = 0
        key = np.zeros(1, self._keys.dtype)
        value = np.zeros(1, self._values.dtype)
        more = self._lib.bpf_map_get_next_key(self._fd, None, key.ctypes.data) == 0
        while more and count < self.capacity:
            if self._lib.bpf_map_lookup_elem(self._fd, key.ctypes.data, value.ctypes.data) == 0:
                self._keys[count], self._values[count] = key[0], value[0]
                count += 1
            more = self._lib.bpf_map_get_next_key(self._fd, key.ctypes.data, key.ctypes.data) == 0
        return count


class ArrayMap:
    """Reads and writes one BPF array map, or the stack map, whose ids are its indices.

    An element of `shape` n is itself an array of n.
    """

    def __init__(self, fd: int, value: np.dtype[Any], shape: int = 1) -> None:
        self._lib = libbpf()
        self._fd = fd
        self._dtype, self._shape = value, shape

    def __getitem__(self, index: int) -> Records:
        value = np.zeros(self._shape, self._dtype)
        key = ctypes.c_uint32(index)
        if self._lib.bpf_map_lookup_elem(self._fd, ctypes.byref(key), value.ctypes.data) != 0:
            raise KeyError(index)
        return value

    def __setitem__(self, index: int, value: Records) -> None:
        key = ctypes.c_uint32(index)
        if self._lib.bpf_map_update_elem(self._fd, ctypes.byref(key), value.ctypes.data, 0) != 0:
            raise KeyError(index)
