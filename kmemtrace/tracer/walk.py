"""Has the programs tell most stacks by what was learned of return addresses, without the kernel's walk.

The programs (probes/walk.h) take what was learned, and send a lesson where it is not enough: the words of a
stack from the program's context on, and the kernel's own walk of it.
"""

import numpy as np

from kmemtrace.kernel.symbols import Symbols
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.capacity import STACK_DEPTH, WALK_PATHS, WALK_STACKS
from kmemtrace.tracer.constants import stack_skips
from kmemtrace.tracer.hops import Hop, laid_out
from kmemtrace.tracer.lessons import CHARGE_ROOT, Learned, Lesson, begins_where_hit, study
from kmemtrace.tracer.maps import ArrayMap, Records
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.structs import HOP, ID, LESSON

_MOST_WRONG = 16
"""After so many stacks that were another's than was learned the kernel walks all."""

_NONE = np.zeros(1, ID)


class Walk:
    """Learns for the programs of one tracer, whenever it is asked to."""

    def __init__(self, programs: Programs, stacks: Stacks, symbols: Symbols, tier: Tier) -> None:
        """Opens the maps of programs that take what is learned.

        Args:
            programs: The programs, compiled.
            stacks: Those that the kernel walked.
            symbols: Tells where the kernel's code lies.
            tier: How functions are probed.
        """
        self._depth = STACK_DEPTH - stack_skips(tier)
        """Addresses of the longest stacks."""
        self._ring = programs.ring("lessons")
        self._hops = ArrayMap(programs.map_fd("hops"), HOP)
        self._paths = ArrayMap(programs.map_fd("paths"), ID)
        self._lessons = ArrayMap(programs.map_fd("lessons_of"), ID)
        self._changes = ArrayMap(programs.map_fd("learned"), ID)
        self._stacks, self._symbols, self._tier = stacks, symbols, tier
        self._code = symbols.code()
        self._learned: dict[int, Learned] = {}
        self._reached: dict[int, int] = {}
        """How far a lesson of each stack came, in return addresses."""
        self._told: dict[int, Hop] = {}
        self._given_up = False

    def learn(self, wrong: int) -> None:
        """Takes the lessons since the last time, and tells the programs what follows from them.

        Args:
            wrong: How many stacks turned out to be another's than was learned.
        """
        lessons = [np.frombuffer(data, LESSON, 1)[0] for data in self._ring()]
        if self._given_up:
            return
        code = self._symbols.code()
        if wrong > _MOST_WRONG or code != self._code:
            # A module's code may be another's by now, and so may what these lessons tell of.
            self._given_up, self._code = wrong > _MOST_WRONG, code
            self._forget()
            return
        taken = [(int(data["stack"]), lesson) for data in lessons if (lesson := self._lesson(data))]
        study(self._learned, [lesson for _, lesson in taken])
        self._tell()
        for stack, lesson in taken:
            if lesson.place > self._reached.get(stack, 0):
                self._reached[stack] = lesson.place
                self._lessons[stack] = (
                    _NONE  # it got on, and so its next lessons are wanted as its first were
                )

    def _forget(self) -> None:
        """Forgets everything, and has the programs know no path."""
        self._learned.clear()
        self._reached.clear()
        self._tell()
        for place in range(WALK_PATHS):
            self._paths[place] = _NONE
        for stack in range(WALK_STACKS):
            self._lessons[stack] = _NONE

    def _lesson(self, lesson: Records) -> Lesson | None:
        try:
            stack = self._stacks.addresses(int(lesson["stack"]))
        except KeyError:
            return None
        chain = self._stacks.of_kernel(stack)
        if chain and self._runs_programs(chain[0]):  # which lies below the context
            del chain[0]
        if not chain or not all(map(self._code.has, chain)):
            return None
        if len(stack) > self._depth:  # the frames that are left out have made room for others
            self._depth = STACK_DEPTH
        words, root = lesson["words"][: int(lesson["count"])].tolist(), int(lesson["root"])
        if self._tier is Tier.KPROBE and root == CHARGE_ROOT and not begins_where_hit(chain, words):
            return None
        return Lesson(chain, words, len(stack) < self._depth, root)

    def _runs_programs(self, address: int) -> bool:
        return (self._symbols.function(address) or "").startswith("bpf_trace_run")

    def _tell(self) -> None:
        """Tells the programs what changed.

        They may look at a place at any time, and must never find the step of one address beside another.
        """
        wanted, none = laid_out(self._learned), Hop()
        for place in self._told.keys() | wanted.keys():
            before, after = self._told.get(place, none), wanted.get(place, none)
            if before != after:
                for one in (Hop(before.address), Hop(after.address), after):
                    self._hops[place] = one.element()
        if wanted != self._told:  # last: what a program found before is not what it finds now
            self._changes[0] = self._changes[0] + 1
        self._told = wanted
