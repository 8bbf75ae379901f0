"""Reads kernel memory: BPF copies it into an array that is mapped here, at some 25 ns for 64 bytes."""

import mmap
from contextlib import suppress
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.program import ADDRESSES, COPY, GATHERED, PROGRAMS, prepared
from kmemtrace.kernel.test_run import test_run

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

_PAGE = 1 << 15
"""Bytes that are tried again on their own where a copy came back empty: memory is added to a machine in
parts, and the struct pages of one part of 2 MB take so many bytes."""


class InterruptedReadingError(Exception):
    """A reading was ended, because interrupt() was called."""


class KernelMemory:
    """Reads the running kernel's memory.

    The programs are compiled and loaded on creation; nothing is attached. It is a context manager, to be
    closed.
    """

    def __init__(self, release: str) -> None:
        """Compiles and loads the programs.

        Args:
            release: The kernel's release, as `uname -r` gives it.

        Raises:
            CannotError: BPF cannot be had.
        """
        self._programs = prepared(release)
        self._current, self._copy, self._follow, self._gather = map(self._programs.fd, PROGRAMS)
        self._maps = [
            mmap.mmap(self._programs.map_fd(name), size, mmap.MAP_SHARED)
            for name, size in (("copies", COPY), ("addresses", 8 * ADDRESSES))
        ]
        self._copies: Bytes = np.frombuffer(self._maps[0], "u1")
        self._addresses: Words = np.frombuffer(self._maps[1], "u8")
        self._interrupted = False

    def interrupt(self) -> None:
        """Ends what another thread reads, and all later readings, by an InterruptedReadingError.

        It is the one method that may be called from any thread.
        """
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
        """Reads up to COPY bytes at an address.

        Returns:
            A view of them, valid until the next call of any kind; zeros where they cannot be read.
        """
        self._run(self._copy, address, size)
        return self._copies[:size]

    def read_parts(self, address: int, size: int) -> Bytes:
        """Reads like read() from an array that may have holes: a hole does not take the rest with it."""
        found = self.read(address, size)
        if found[: 1 << 12].any() or size <= _PAGE:
            return found
        return np.concatenate(
            [self.read(address + at, min(_PAGE, size - at)).copy() for at in range(0, size, _PAGE)]
        )

    def gather(self, addresses: Words, size: int) -> Words:
        """Reads some bytes from each address.

        Args:
            addresses: Where to read.
            size: Bytes from each address: a multiple of 8, less than GATHERED.

        Returns:
            An array of (address, word) in 8-byte words; zeros for addresses that cannot be read.
        """
        words = size // 8
        found = np.zeros((len(addresses), words), "u8")
        at_once = min(ADDRESSES, (COPY - GATHERED) // size)
        for begin in range(0, len(addresses), at_once):
            some = addresses[begin : begin + at_once]
            self._addresses[: len(some)] = some
            self._run(self._gather, size, len(some))
            copied = self._copies[: len(some) * size].view("u8")
            found[begin : begin + len(some)] = copied.reshape(len(some), words)
        return found

    def links(self, head: int, most: int) -> Words:
        """Follows a circular list.

        Args:
            head: Address of the list's head, which is not among the links.
            most: Largest number of links to return, as a list that changes meanwhile may lead astray.

        Returns:
            Addresses of the links, in their order.
        """
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
        """Returns the address of the struct task_struct of the thread that asks."""
        self._run(self._current)
        return int(self._addresses[0])

    def word(self, address: int) -> int:
        """Returns the 8 bytes at an address; 0 where it cannot be read."""
        return int(self.read(address, 8).view("u8")[0])

    def words(self, addresses: Words, offset: int = 0) -> Words:
        """Returns the 8 bytes at each address plus `offset`; 0 where they cannot be read."""
        return self.gather(addresses + np.uint64(offset), 8)[:, 0]

    def names(self, addresses: Words, most: int = 64) -> list[str]:
        """Returns the strings at the addresses, which end with a zero byte, cut at `most` bytes."""
        return [
            row.tobytes().partition(b"\0")[0].decode(errors="backslashreplace")
            for row in self.gather(addresses, most)
        ]
