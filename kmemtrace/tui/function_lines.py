"""Makes the lines of the drill-down: functions, and below an open one its stacks."""

from collections.abc import Sequence

from kmemtrace import text
from kmemtrace.model.detail import Function, Stack
from kmemtrace.model.row import Row
from kmemtrace.model.snapshot import FROM_BEFORE
from kmemtrace.tui import style
from kmemtrace.tui.bars import bar
from kmemtrace.tui.cells import Piece

_KIND, _NUMBER, _SHARE, _BAR = 13, 8, 6, 12
_LEAST_FOR_BAR = 100
_STACK = "\0"
"""Stands between the key of a function and the place of one of its stacks."""


class FunctionLines:
    """Keeps which functions are open while they change places."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}
        self._stacks: dict[str, tuple[Function, Stack]] = {}
        self._opened: set[str] | None = None
        self._held = self._charged = 0
        self._page_size = 1
        self._width = self._name = 0
        self.keys: list[str] = []

    def update(self, found: Sequence[Function], row: Row) -> None:
        self._functions = {f"{f.kind} {f.symbol}": f for f in found}
        self._held, self._charged = sum(f.held_pages for f in found), sum(f.charged_pages for f in found)
        self._page_size = row.span.page_size
        if self._opened is None:
            # A single one has nothing to compare it with.
            self._opened = set(self._functions) if len(found) == 1 else set()
        self._list()

    def fit(self, width: int) -> None:
        self._width = width
        bar = _BAR + 1 if width >= _LEAST_FOR_BAR else 0
        self._name = max(20, width - _KIND - 2 * (_NUMBER + _SHARE) - bar - 2)

    def toggle(self, key: str) -> None:
        self.open(key, opened=key not in (self._opened or set()))

    def open(self, key: str, *, opened: bool) -> None:
        """Opens or closes a function; by the key of a stack, the function that it is below."""
        of = self.function_of(key)
        self._opened = (self._opened or set()) | {of} if opened else (self._opened or set()) - {of}
        self._list()

    def function_of(self, key: str) -> str:
        """Returns the key of the function that a line belongs to."""
        return key.partition(_STACK)[0]

    def stack(self, key: str) -> tuple[Function, Stack] | None:
        """Returns the stack of a line; a function with a single one needs none below it."""
        function = self._functions.get(key)
        if function is not None and len(function.stacks) == 1:
            return function, function.stacks[0]
        return self._stacks.get(key)

    def _list(self) -> None:
        self.keys, self._stacks = [], {}
        for key, function in self._functions.items():
            self.keys.append(key)
            if key in (self._opened or set()) and len(function.stacks) > 1:
                for stack in function.stacks:
                    where = stack.cgroups[0][0] if stack.cgroups else ""
                    below = f"{key}{_STACK}{where}{_STACK}{' '.join(stack.stack)}"
                    self._stacks[below] = function, stack
                    self.keys.append(below)

    def heading(self) -> list[Piece]:
        cells = [text.padded("FUNCTION", self._name + 1), text.padded("KIND", _KIND + 1)]
        cells += [f"{'HELD':>{_NUMBER}}{'SHARE':>{_SHARE}}"]
        cells += [" " * (_BAR + 1)] if self._width >= _LEAST_FOR_BAR else []
        cells += [f"{'CHARGED':>{_NUMBER}}{'SHARE':>{_SHARE}}"]
        return [("".join(cells), style.HEADING)]

    def line(self, at: int) -> list[Piece]:
        key = self.keys[at]
        if key in self._stacks:
            return self._stack_line(*self._stacks[key])
        function = self._functions[key]
        count = len(function.stacks)
        mark = "  " if count == 1 else "▾ " if key in (self._opened or set()) else "▸ "
        rest = (
            f" < {callers(function.symbol, function.stacks[0].stack)}" if count == 1 else f" ({count} stacks)"
        )
        symbol = text.cut(function.symbol, self._name - 2)
        room = self._name - 2 - text.width(symbol)
        return [
            (mark, style.STRONG),
            (symbol, style.STRONG),
            (text.padded(text.cut(rest, room), room + 1), style.FAINT),
            (text.padded(function.kind, _KIND + 1), style.PLAIN),
            *self._numbers(function.held_pages, function.charged_pages),
        ]

    def _stack_line(self, function: Function, stack: Stack) -> list[Piece]:
        room = self._name + _KIND - 3
        where = ""
        if len(stack.cgroups) > 1:
            where = f"in {len(stack.cgroups):,} cgroups  "
        elif self._tells_cgroups(function) and stack.cgroups:
            where = text.shortened(stack.cgroups[0][0], room // 2) + "  "
        chain = text.cut(callers(function.symbol, stack.stack), room - text.width(where))
        words = text.padded(where + chain, room + 1)
        return [
            ("    ", style.PLAIN),
            (where, style.PLAIN),
            (words.removeprefix(where), style.FAINT),
            *self._numbers(stack.held_pages, stack.charged_pages),
        ]

    def _tells_cgroups(self, function: Function) -> bool:
        """Returns whether a function's stacks are of different cgroups."""
        return len({stack.cgroups[0][0] for stack in function.stacks if stack.cgroups}) > 1

    def _numbers(self, held: int, charged: int) -> list[Piece]:
        def number(pages: int) -> Piece:
            words = text.padded(text.size(pages * self._page_size), _NUMBER, left=False)
            return words, style.PLAIN if pages else style.FAINT

        def part(pages: int, whole: int) -> Piece:
            return text.padded(text.share(pages, whole), _SHARE, left=False), style.FAINT

        pieces = [number(held), part(held, self._held)]
        if self._width >= _LEAST_FOR_BAR:
            pieces.append((f" {bar(held, self._held, _BAR)}", style.PLAIN))
        return [*pieces, number(charged), part(charged, self._charged)]


def callers(symbol: str, stack: tuple[str, ...]) -> str:
    """Tells what called the function, outwards: "vfs_write < ksys_write < do_syscall_64"."""
    if symbol == FROM_BEFORE:
        return "(nothing tells who asked for it)"
    if not stack:
        return "(the stack was not recorded)"
    names = [text.function(frame) for frame in stack]
    after = names.index(symbol) + 1 if symbol in names else 0
    return " < ".join(names[after:]) or symbol
