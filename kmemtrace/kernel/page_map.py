"""Finds where the kernel keeps the array of its struct pages."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.known_page import known_page, page_path
from kmemtrace.kernel.layout import Defines

MAPS_ALIGNED = 1 << 30
"""What the kernel's map of all memory is aligned to, also where it is put at random: on x86
(CONFIG_RANDOMIZE_MEMORY), where its struct pages are so too, and on arm64 with pages of 4 or 16 KiB
(ARM64_MEMSTART_ALIGN)."""
_SMALL_MACHINE = 1 << 24
"""Page frames whose struct pages fill the 1 GiB that their start is aligned to."""
_TRIES = 5


class By(Enum):
    """What find_page_map() answers."""

    SYMBOL = auto()
    """The start of the array."""
    ANY_PAGE = auto()
    """Any struct page, and the array fills no more than what its start is aligned to."""
    KNOWN_PAGE = auto()
    """The struct page of a file, whose number user space knows."""


@dataclass(frozen=True, slots=True)
class PageMap:
    """Where a kernel keeps the array of its struct pages."""

    defines: Defines
    """Constants by which find_page_map() finds it."""
    by: By


def page_map(facts: Facts, page_frames: int) -> PageMap | None:
    """Returns how to find the array of struct pages.

    Args:
        facts: What is known of the kernel.
        page_frames: One more than the number of the machine's highest page frame.

    Returns:
        The way to find it; None where none will do.
    """
    base = facts.symbol("vmemmap_base")  # x86, since 4.17
    if base is not None:
        return PageMap({"PAGE_MAP_AT": f"{base:#x}ULL"}, By.SYMBOL)
    stack = facts.offset("task_struct", "stack_vm_area")
    pages = facts.offset("vm_struct", "pages")
    if facts.machine == "x86_64" and page_frames <= _SMALL_MACHINE and None not in (stack, pages):
        return PageMap({"OFF_TASK_STACK_AREA": stack or 0, "OFF_AREA_PAGES": pages or 0}, By.ANY_PAGE)
    # Elsewhere where it begins follows from constants that no type tells, and from where memory begins.
    path = page_path(facts)
    return None if path is None else PageMap(path, By.KNOWN_PAGE)


def array_start(by: By, struct_bytes: int, find: Callable[[int], int]) -> int:
    """Returns the address of struct page 0; what is no address of the kernel's where it is not found.

    Args:
        by: What `find` answers.
        struct_bytes: Size of struct page.
        find: Does what find_page_map() does; it is given a file's descriptor.

    Raises:
        OSError: The file cannot be made.
    """
    if by is By.SYMBOL:
        return find(0)
    if by is By.ANY_PAGE:
        return find(0) & -MAPS_ALIGNED
    with known_page() as page:
        for _ in range(_TRIES):
            before, found = page.frame(), find(page.file)
            # Of a large block the file names something else, which the lowest bits tell.
            if before is not None and before == page.frame() and found % 4 == 0:
                return found - before * struct_bytes
    return 0
