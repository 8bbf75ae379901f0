"""Learns from kernel stacks where their return addresses lie: how many words after each the next one does.

The distance is the same whenever the function calls from there, for the compiler gives it one frame. The few
functions without a frame of a fixed size, and those in which the kernel moves the stack at random
(do_syscall_64), contradict themselves in a few lessons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

END = 1 << 16
"""Step of an address after which there is none: the stack ends there."""
REGISTERS = 1 << 17
"""Step of an address behind which the registers of an exception lie: it ends there if that is the user's."""
ROOT, CHARGE_ROOT = 1, 2
"""Stand for the context of a program, before the first return address: of the one that sees allocations, and
of the one of the function that charges."""
REGISTERS_CS = 18
"""Words from such an address to the register that tells: struct pt_regs follows it, and cs is its 17th."""

_IP = 16
"""Word of struct pt_regs, which is a kprobe's context: where it was hit."""
_USER_CS = (0x23, 0x33)
"""What it is in a program of 32 and of 64 bits (__USER32_CS and __USER_CS)."""
_LESSONS = 3
"""How many have to agree: words that an earlier call left on the stack look like a return address, too."""
_LESSONS_OF_LAST = 8


def begins_where_hit(chain: Sequence[int], words: Sequence[int]) -> bool:
    """Tells whether a stack at a kprobe has its first frame.

    It has not where another stack's id was in its way (stack_of() in probes/stacks.h): as a lesson it would
    contradict all others.

    Args:
        chain: Its addresses, innermost first.
        words: The stack from the program's context on.
    """
    return len(words) > _IP and chain[0] == words[_IP]


@dataclass(slots=True)
class Learned:
    """What the lessons tell of one return address."""

    lessons: int = 0
    steps: set[int] | None = None
    """Distances to the next address that no lesson contradicts; None before the first."""
    last_of: set[int] = field(default_factory=set)
    """What came next, where that was the outermost; 0 where it was not, nothing where that cannot be said."""
    following: set[int] = field(default_factory=set)
    """What came next."""
    ends: set[int] = field(default_factory=set)
    """END or REGISTERS where a stack ended here, and 0 where one went on."""

    @property
    def step(self) -> int:
        """What the programs are told of it: a distance, END or REGISTERS; 0: nothing."""
        if self.lessons < _LESSONS:
            return 0
        if REGISTERS in self.ends:
            return 0 if END in self.ends else REGISTERS
        if END in self.ends:
            return END if len(self.ends) == 1 else 0
        if self.steps:
            return next(iter(self.steps)) if len(self.steps) == 1 else 0
        # Its distance changes, but what comes next is always the same: the entry into the kernel.
        entered = len(self.following) == 1 and self.last_of == self.following
        return END if entered and self.lessons >= _LESSONS_OF_LAST else 0


@dataclass(slots=True)
class Lesson:
    """One stack, and how far it has been gone along: as far as is known where its addresses lie."""

    chain: Sequence[int]
    """Return addresses, innermost first."""
    words: Sequence[int]
    """The stack from the program's context on."""
    whole: bool
    """Whether the last of the chain is the stack's outermost."""
    address: int = ROOT
    """Where it is: at first, at the context of the program that it is of."""
    at: int = 0
    """Which word that is, or is below."""
    place: int = 0
    """What comes next in the chain."""

    def tell(self, learned: dict[int, Learned]) -> None:
        """Tells of the address that it is at, once."""
        one = learned.setdefault(self.address, Learned())
        one.lessons += 1
        if self.place == len(self.chain):
            cs = self.at + REGISTERS_CS
            one.ends.add(REGISTERS if cs < len(self.words) and self.words[cs] in _USER_CS else END)
            return
        following, at, words = self.chain[self.place], self.at, self.words
        # Those that no lesson contradicted before: to look at all words takes ten times as long.
        steps = range(1, len(words) - at) if one.steps is None else one.steps
        one.following.add(following)
        one.steps = {step for step in steps if at + step < len(words) and words[at + step] == following}
        one.ends.add(0)
        if self.place < len(self.chain) - 1:
            one.last_of.add(0)
        elif self.whole:
            one.last_of.add(following)

    def go_on(self, learned: dict[int, Learned]) -> bool:
        """Goes on to the next address; answers whether it did, and has something to tell of that."""
        if self.place == len(self.chain):
            return False
        one = learned[self.address]
        if one.steps is None or len(one.steps) != 1 or one.lessons < _LESSONS:
            return False
        self.at += next(iter(one.steps))
        self.address = self.chain[self.place]
        self.place += 1
        return self.place < len(self.chain) or self.whole


def study(learned: dict[int, Learned], lessons: Iterable[Lesson]) -> None:
    """Learns from stacks: from all of them about one address, before any goes on from there.

    Args:
        learned: What was learned until now, by return address; changed.
        lessons: The stacks.
    """
    every = telling = list(lessons)
    while telling:
        for lesson in telling:
            lesson.tell(learned)
        telling = [lesson for lesson in every if lesson.go_on(learned)]
