"""Finds the pages that were charged before the start, by the mark on each struct page.

It opens a record for each. Before they are all known, no uncharge can be told to be stray.
"""

from collections.abc import Callable
from threading import Event

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.page_map import By, array_start
from kmemtrace.kernel.test_run import test_run
from kmemtrace.tracer.capacity import ADOPT_BATCH
from kmemtrace.tracer.maps import ArrayMap

LOOKED_FOR = "pages charged before the start are still looked for"
SEARCHING = f"{LOOKED_FOR}: until all are known, none is called stray"


class Adoption:
    """Runs `find_page_map`, `find_charged` and `adopt`, programs of ours, over all page frames, once."""

    def __init__(
        self,
        program: Callable[[str], int],
        page_map: ArrayMap,
        searches: ArrayMap,
        through: Callable[[], None],
        by: By,
    ) -> None:
        """Prepares the search.

        Args:
            program: Gives the descriptor of a BPF function.
            page_map: The map where find_page_map puts its answer.
            searches: The map for what `find_charged` is asked and answers.
            through: Called when all are known.
            by: What find_page_map answers.
        """
        self._program, self._page_map, self._searches, self._through = program, page_map, searches, through
        self._by = by
        self._over = Event()
        self.failure: str | None = None
        """Why the pages are not known, from when that is so."""
        self.began: float | None = None
        """When the first page was looked at (kernel_seconds())."""
        self.ended: float | None = None
        """When all were known (kernel_seconds()); None while they are not."""

    def wait(self, seconds: float | None = None) -> None:
        """Waits until all are known, or it is known why they cannot be, or so many seconds."""
        self._over.wait(seconds)

    def run(self, frames: range, page_struct: int, stop: Event) -> None:
        """Looks at the structs of these page frames, of `page_struct` bytes each.

        It never raises: that pages could not be found is no reason to end what is traced.
        """
        why = "the search for them was ended"
        try:
            found = self._scan(frames, page_struct, stop)
            if found is None:
                self.ended = kernel_seconds()
            else:
                why = found
        except OSError as error:
            why = f"the kernel ended the search for them: {error.strerror}"
        finally:
            if self.ended is None:
                self.failure = f"pages charged before the start are not all known ({why})"
            self._over.set()

    def _find(self, file: int) -> int:
        test_run(self._program("find_page_map"), file)
        return int(self._page_map[0][0])

    def _scan(self, frames: range, page_struct: int, stop: Event) -> str | None:
        """Searches, and returns why it did not come to its end; None when it did."""
        self.began = kernel_seconds()
        begin = array_start(self._by, page_struct, self._find)
        if begin >> 63 == 0:  # no address of the kernel's
            return "where this kernel keeps its struct pages was not found"
        find, adopt = self._program("find_charged"), self._program("adopt")
        for frame in frames[::ADOPT_BATCH]:
            if stop.is_set():
                return "the search for them was ended"
            count = test_run(find, begin + frame * page_struct)
            if count:
                for page in self._searches[0][0]["found"][:count].tolist():
                    test_run(adopt, page)
        self._through()
        return None
