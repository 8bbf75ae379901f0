"""Has the programs tell most stacks by what was learned of return addresses, without the kernel's walk.

The programs (probes/walk.h) take what was learned, and send a lesson where it is not enough: the words of a
stack from the program's context on, and the kernel's own walk of it.
"""

from collections.abc import Mapping

import numpy as np

from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.symbols import Symbols
from kmemtrace.tracer.capacity import (
    LESSONS_PAGES,
    STACK_DEPTH,
    STACK_SKIPS,
    WALK_CHECKS,
    WALK_HOPS,
    WALK_MIX,
    WALK_PATHS,
    WALK_WAYS,
    WALK_WORDS,
)
from kmemtrace.tracer.lessons import END, REGISTERS, REGISTERS_CS, ROOT, Learned, study
from kmemtrace.tracer.maps import ArrayMap, Records
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.stacks import Stacks
from kmemtrace.tracer.structs import HOPS, ID, LESSON

_MOST_WRONG = 16
"""After so many stacks that were another's than was learned the kernel walks all."""

Buckets = dict[int, dict[int, int]]
"""By the bucket that the programs look in: the addresses there, each with its step."""


DEFINES: Defines = {
    "STACK_SKIPS": STACK_SKIPS,
    "WALK_WORDS": WALK_WORDS,
    "WALK_WAYS": WALK_WAYS,
    "WALK_HOPS": WALK_HOPS,
    "WALK_PATHS": WALK_PATHS,
    "WALK_CHECKS": WALK_CHECKS,
    "WALK_END": END,
    "WALK_REGISTERS": REGISTERS,
    "WALK_REGISTERS_CS": REGISTERS_CS,
    "WALK_ROOT": ROOT,
    "WALK_MIX": f"{WALK_MIX}ULL",
    "LESSONS_PAGES": LESSONS_PAGES,
}
"""Constants that the programs are compiled with."""


class Walk:
    """Learns for the programs of one tracer, whenever it is asked to."""

    def __init__(self, programs: Programs, stacks: Stacks, symbols: Symbols) -> None:
        """Opens the maps of programs that take what is learned.

        Args:
            programs: The programs, compiled.
            stacks: Those that the kernel walked.
            symbols: Tells where the kernel's code lies.
        """
        self._ring = programs.ring("lessons")
        self._hops = ArrayMap(programs.map_fd("hops"), HOPS)
        self._paths = ArrayMap(programs.map_fd("paths"), ID)
        self._stacks, self._symbols = stacks, symbols
        self._code = symbols.code()
        self._learned: dict[int, Learned] = {}
        self._told: Buckets = {}
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
        for lesson in lessons:
            self._take(lesson)
        self._tell()

    def _forget(self) -> None:
        """Forgets everything, and has the programs know no path."""
        self._learned.clear()
        self._tell()
        none = np.zeros(1, ID)
        for place in range(WALK_PATHS):
            self._paths[place] = none

    def _take(self, lesson: Records) -> None:
        try:
            stack = self._stacks.addresses(int(lesson["stack"]))
        except KeyError:
            return
        chain = self._stacks.of_kernel(stack)
        if chain and self._runs_programs(chain[0]):  # which lies below the context
            del chain[0]
        if chain and all(map(self._code.has, chain)):
            words = lesson["words"][: int(lesson["count"])]
            study(self._learned, chain, words, whole=len(stack) < STACK_DEPTH - STACK_SKIPS)

    def _runs_programs(self, address: int) -> bool:
        return (self._symbols.function(address) or "").startswith("bpf_trace_run")

    def _tell(self) -> None:
        """Tells the programs what changed.

        They may look at a bucket at any time, and must never find the step of one address beside another.
        """
        wanted = buckets({address: step for address, one in self._learned.items() if (step := one.step)})
        for place in self._told.keys() | wanted.keys():
            before, after = self._told.get(place, {}), wanted.get(place, {})
            if before != after:
                for one in (dict.fromkeys(before, 0), dict.fromkeys(after, 0), after):
                    self._hops[place] = _element(one)
        self._told = wanted


def buckets(steps: Mapping[int, int]) -> Buckets:
    """Returns addresses and steps by bucket; what a bucket has no room for is left out."""
    found: Buckets = {}
    for address, step in sorted(steps.items()):
        bucket = found.setdefault(address * WALK_MIX >> 32 & (WALK_HOPS - 1), {})
        if len(bucket) < WALK_WAYS:
            bucket[address] = step
    return found


def _element(bucket: Mapping[int, int]) -> Records:
    element = np.zeros(1, HOPS)
    for way, (address, step) in enumerate(bucket.items()):
        element["address"][0, way], element["step"][0, way] = address, step
    return element
