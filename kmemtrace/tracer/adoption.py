"""Finds the pages that were charged before the start, by the mark on each struct page, so that their
uncharge is not taken for a stray one."""

from collections.abc import Callable
from threading import Event

import numpy as np

from kmemtrace.kernel.test_run import test_run
from kmemtrace.tracer.capacity import ADOPT_BATCH
from kmemtrace.tracer.maps import ArrayMap

_ALIGNED = 1 << 30
"""Of where x86 puts its struct pages, also when it puts them at random (CONFIG_RANDOMIZE_MEMORY)."""


class Adoption:
    """Runs `find_page_map` and `adopt`, programs of ours, over all page frames."""

    def __init__(
        self, program: Callable[[str], int], page_map: ArrayMap, scanned: ArrayMap, by_symbol: bool
    ) -> None:
        """`program` gives the descriptor of a BPF function; `by_symbol`: whether find_page_map answers
        the start of the struct pages, or the address of any of them."""
        self._program, self._page_map, self._scanned = program, page_map, scanned
        self._by_symbol = by_symbol

    def scan(self, page_frames: int, page_struct: int, stop: Event) -> bool:
        """Looks at `page_frames` structs of `page_struct` bytes, 30 ns each; False when stopped, or
        where they were not found."""
        test_run(self._program("find_page_map"))
        found = int(self._page_map[0][0])
        begin = found if self._by_symbol else found & -_ALIGNED
        if begin >> 63 == 0:
            return False  # no address of the kernel's
        adopt = self._program("adopt")
        for frame in range(0, page_frames, ADOPT_BATCH):
            if stop.is_set():
                return False
            test_run(adopt, begin + frame * page_struct)
        self._scanned[0] = np.ones(1, "u8")
        return True
