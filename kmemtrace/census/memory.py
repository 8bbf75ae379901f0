"""Reads kernel memory through BPF copies into an array that is mapped here: some 25 ns for 64 bytes."""

import mmap
from contextlib import suppress
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmemtrace.kernel.layout import kernel_version
from kmemtrace.kernel.test_run import test_run
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import program_text

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

SOURCE = "census.bpf.c"
COPY = 1 << 20
"""Bytes of one copy: 100 µs, in which the CPU does nothing else on some kernels."""
GATHERED = 1 << 13
"""Most bytes from one address; less than this, as the program masks it."""
_ADDRESSES = 1 << 11
_PAGE = 1 << 15
"""What is tried again where a copy came back empty: memory is added to a machine in parts, and the struct
pages of one part of 2 MB take so many bytes."""


class InterruptedReadingError(Exception):
    """interrupt() was called."""


class KernelMemory:
    """Compiled and loaded on creation; nothing is attached. A context manager, to be closed."""

    def __init__(self, release: str) -> None:
        """`release`: as uname -r gives it. Raises CannotError where BPF cannot be had."""
        self._programs = Programs(
            program_text(SOURCE),
            {},
            kernel_version(release)
            | {
                "CENSUS_BYTES": COPY,
                "CENSUS_ADDRESSES": _ADDRESSES,
                "CENSUS_GATHERED": GATHERED,
            },
        )
        programs = ("copy_memory", "gather_memory", "follow_memory", "note_current")
        self._copy, self._gather, self._follow, self._current = map(self._programs.fd, programs)
        self._maps = [
            mmap.mmap(self._programs.map_fd(name), size, mmap.MAP_SHARED)
            for name, size in (("copies", COPY), ("addresses", 8 * _ADDRESSES))
        ]
        self._copies: Bytes = np.frombuffer(self._maps[0], "u1")
        self._addresses: Words = np.frombuffer(self._maps[1], "u8")
        self._interrupted = False

    def interrupt(self) -> None:
        """Ends what another thread reads, and whatever would be read from now on, by an
        InterruptedReadingError. The one method that may be called from any thread."""
        self._interrupted = True

    def _run(self, program: int, *arguments: int) -> None:
        if self._interrupted:
            raise InterruptedReadingError
        test_run(program, *arguments)

    def close(self) -> None:
        del self._copies, self._addresses
        for one in self._maps:
            with suppress(BufferError):  # an error's traceback may hold a view: it goes with that
                one.close()
        self._programs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, address: int, size: int) -> Bytes:
        """Up to COPY bytes; zeros for what cannot be read. A view, valid until the next call of any kind."""
        self._run(self._copy, address, size)
        return self._copies[:size]

    def read_parts(self, address: int, size: int) -> Bytes:
        """As read(), of an array that may have holes: one in it does not take the rest with it."""
        found = self.read(address, size)
        if found[: 1 << 12].any() or size <= _PAGE:
            return found
        return np.concatenate(
            [self.read(address + at, min(_PAGE, size - at)).copy() for at in range(0, size, _PAGE)]
        )

    def gather(self, addresses: Words, size: int) -> Words:
        """`size` bytes, a multiple of 8 and less than GATHERED, from each of them: an array of
        (address, word). Zeros from those that cannot be read."""
        words = size // 8
        found = np.zeros((len(addresses), words), "u8")
        at_once = min(_ADDRESSES, (COPY - GATHERED) // size)
        for begin in range(0, len(addresses), at_once):
            some = addresses[begin : begin + at_once]
            self._addresses[: len(some)] = some
            self._run(self._gather, size, len(some))
            copied = self._copies[: len(some) * size].view("u8")
            found[begin : begin + len(some)] = copied.reshape(len(some), words)
        return found

    def links(self, head: int, most: int) -> Words:
        """The links of the circular list that begins at `head`, which is not among them: up to `most`, for a
        list that changes meanwhile may lead astray."""
        found: list[Words] = []
        at, count = head, 0
        while count < most:
            self._run(self._follow, at)
            chain = self._addresses.copy()
            ends = (chain == head) | (chain == 0)
            # A head whose links were moved to another list leads into a circle that it is not in.
            if found:
                ends |= chain == found[0][0]
            else:
                ends[1:] |= chain[1:] == chain[0]
            end = np.flatnonzero(ends)
            found.append(chain[: end[0]] if len(end) else chain)
            if len(end):
                break
            at, count = int(chain[-1]), count + len(chain)
        return np.concatenate(found)[:most] if found else np.zeros(0, "u8")

    def current_task(self) -> int:
        """Address of the struct task_struct of the thread that asks."""
        self._run(self._current)
        return int(self._addresses[0])

    def word(self, address: int) -> int:
        """The 8 bytes at an address; 0 where it cannot be read."""
        return int(self.read(address, 8).view("u8")[0])

    def words(self, addresses: Words, offset: int = 0) -> Words:
        """The 8 bytes at each address, `offset` added to it; 0 for an address that cannot be read."""
        return self.gather(addresses + np.uint64(offset), 8)[:, 0]

    def names(self, addresses: Words, most: int = 64) -> list[str]:
        """Strings that end with a zero byte, cut at `most` bytes."""
        return [
            row.tobytes().partition(b"\0")[0].decode(errors="backslashreplace")
            for row in self.gather(addresses, most)
        ]
