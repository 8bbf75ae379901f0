"""Reads a BPF ring buffer."""

import ctypes
import os

from kmemtrace.foreign import Taker, libbpf


class Ring:
    """Takes the records of a ring buffer out of it; for one thread at a time, until it is closed."""

    def __init__(self, fd: int) -> None:
        """Maps the buffer into our memory; `fd` is the map's descriptor."""
        self._taken: list[bytes] = []
        self._take = Taker(self._keep)  # libbpf knows its address alone: it has to live as long
        self._lib = libbpf()
        self._ring = self._lib.ring_buffer__new(fd, ctypes.cast(self._take, ctypes.c_void_p), None, None)
        if not self._ring:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _keep(self, _context: int | None, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def drain(self) -> list[bytes]:
        """Takes out what is there, oldest first."""
        self._taken = []
        self._lib.ring_buffer__consume(self._ring)
        return self._taken

    def close(self) -> None:
        if self._ring:
            self._lib.ring_buffer__free(self._ring)
            self._ring = None
