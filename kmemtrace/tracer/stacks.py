"""Returns recorded kernel stacks by id, as frames, kind and symbol.

A stack never changes: each is read and resolved once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import dropwhile

from kmemtrace.kernel.symbols import Symbols
from kmemtrace.model.enums import SiteKind, StackId
from kmemtrace.model.snapshot import FROM_BEFORE
from kmemtrace.tracer.maps import ArrayMap
from kmemtrace.tracer.sites import UNKNOWN, classify, without_tracer


@dataclass(frozen=True, slots=True)
class Stack:
    kind: SiteKind
    symbol: str
    frames: tuple[str, ...]
    """Frames as `function+0xoffset`, innermost first, from the allocator on; UNKNOWN for one without a
    name."""


NOT_RECORDED = Stack(SiteKind.UNKNOWN, UNKNOWN, ())
BEFORE_START = frozenset((StackId.BEFORE, StackId.BEFORE_TABLE))
"""Ids of pages charged before the start, which have no stack."""
_WITHOUT = {
    StackId.BEFORE: Stack(SiteKind.BEFORE, FROM_BEFORE, ()),
    StackId.BEFORE_TABLE: Stack(SiteKind.PAGE_TABLE, FROM_BEFORE, ()),
}


class Stacks:
    def __init__(self, addresses: ArrayMap, symbols: Symbols) -> None:
        self._addresses, self._symbols = addresses, symbols
        self._known: dict[int, Stack] = {}
        self._read: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, stack_id: int) -> Stack:
        """Returns the stack of an id; of a negative id, what it stands for, else NOT_RECORDED."""
        if stack_id < 0:
            return _WITHOUT.get(StackId(stack_id), NOT_RECORDED)
        stack = self._known.get(stack_id)
        if stack is None:
            stack = self._known[stack_id] = self._resolve(stack_id)
        return stack

    def addresses(self, stack_id: int) -> tuple[int, ...]:
        """Returns the return addresses of a stack, innermost first, that of the program included.

        They are read once: while they are, the kernel takes the stack out of the map, and may give its id to
        another of its bucket.

        Raises:
            KeyError: There is no such stack.
        """
        found = self._read.get(stack_id)
        if found is None:
            found = self._read[stack_id] = tuple(int(a) for a in self._addresses[stack_id] if a)
        return found

    def of_kernel(self, addresses: Iterable[int]) -> list[int]:
        """Returns addresses of a stack from the kernel's own code on, without that of the program.

        The names of BPF code cannot be relied upon: each tracer that attaches to the same function has the
        trampoline made anew, where the symbols that were read before it know something else or nothing (6.1).
        Who charges is always in the kernel's own code.
        """
        return list(dropwhile(lambda a: a not in self._symbols.text, addresses))

    def _resolve(self, stack_id: int) -> Stack:
        try:
            addresses = self.addresses(stack_id)
        except KeyError:
            return NOT_RECORDED
        own = self.of_kernel(addresses)
        frames = without_tracer([self._symbols.function(a) or UNKNOWN for a in own])
        kind, symbol = classify(frames)
        return Stack(kind, symbol, frames)
