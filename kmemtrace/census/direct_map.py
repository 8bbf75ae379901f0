"""Finds where the kernel keeps its struct pages and where it maps all memory.

The two lead from an object's address to its slab.
"""

from dataclasses import dataclass

import numpy as np

from kmemtrace.census.holdings import PAGE_BYTES
from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.layout.slab import SlabLayout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.pages import is_slab, word_at
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.page_map import MAPS_ALIGNED, By, PageMap, array_start, page_map

_KERNEL = 1 << 63
_FRAME_SHIFT = PAGE_BYTES.bit_length() - 1
"""Bits of an address within a page."""
_IMAGE = 0xFFFFFFFF80000000
"""Where the kernel's own image begins on x86, if its symbols do not tell. Its variables lie from there on,
such as the namespaces that most tasks are in; on arm64, too, that is above the map of all memory."""
_OBJECTS = ("cred", "files", "fs", "mm", "nsproxy", "sighand", "signal")
"""Fields of a task that point to objects, each in a slab of another cache."""


@dataclass(frozen=True, slots=True)
class Maps:
    pages: int
    """The address of struct page 0."""
    memory: int
    """The address at which the first byte of page 0 is mapped."""


def page_map_at(memory: KernelMemory, facts: Facts, page_frames: int) -> int:
    """Finds the address of struct page 0, where page_map() tells how.

    Raises:
        CannotError: It does not, or what it tells does not lead to an address of the kernel's.
    """
    how, found = page_map(facts, page_frames), 0
    if how is not None:
        found = array_start(how.by, facts.size("page") or 0, lambda file: _answer(memory, facts, how, file))
    if found < _KERNEL:
        raise CannotError(
            "Where this kernel keeps its struct pages is not known, so that no census can be taken."
        )
    return found


def _answer(memory: KernelMemory, facts: Facts, how: PageMap, file: int) -> int:
    """Answers what find_page_map() does (probes/requests.h)."""
    if how.by is By.SYMBOL:
        return memory.word(facts.symbol("vmemmap_base") or 0)
    at, task = {name: int(offset) for name, offset in how.defines.items()}, memory.current_task()
    if how.by is By.ANY_PAGE:
        return memory.word(memory.word(memory.word(task + at["OFF_TASK_STACK_AREA"]) + at["OFF_AREA_PAGES"]))
    table = memory.word(memory.word(task + at["OFF_TASK_FILES"]) + at["OFF_FILES_TABLE"])
    opened = memory.word(memory.word(table + at["OFF_TABLE_FILES"]) + 8 * file)
    return memory.word(memory.word(opened + at["OFF_FILE_MAPPING"]) + at["OFF_MAPPING_PAGE"])


def find_maps(
    memory: KernelMemory, facts: Facts, page: PageLayout, slab: SlabLayout, page_frames: int
) -> Maps:
    """Finds both maps, by their symbols or from objects of the current task.

    Args:
        memory: Reads the kernel's memory.
        facts: What is known of the running kernel.
        page: The layout of struct page.
        slab: The layout of struct slab.
        page_frames: One more than the number of the machine's highest page frame.

    Raises:
        CannotError: One of the maps is not found.
    """
    pages = page_map_at(memory, facts, page_frames)
    symbol = facts.symbol("page_offset_base")
    if symbol is not None:
        return Maps(pages, memory.word(symbol))
    task = memory.current_task()
    offsets = [facts.offset("task_struct", name) for name in _OBJECTS]
    objects = [task, *(memory.word(task + at) for at in offsets if at is not None)]
    image = facts.symbol("_stext") or _IMAGE
    known = np.array([one for one in objects if _KERNEL <= one < image], "u8")
    below = int(known.min()) & -MAPS_ALIGNED
    fitting = [
        base
        for base in range(below, below - page_frames * PAGE_BYTES - MAPS_ALIGNED, -MAPS_ALIGNED)
        if all(_in_slab(memory, page, slab, Maps(pages, base), known, page_frames))
    ]
    if len(fitting) != 1:
        raise CannotError(
            "Where this kernel maps its memory is not known, so that no object can be followed."
        )
    return Maps(pages, fitting[0])


def _in_slab(
    memory: KernelMemory, page: PageLayout, slab: SlabLayout, maps: Maps, objects: Words, page_frames: int
) -> list[bool]:
    """Returns for each object whether it would be one of a slab, if these were the maps."""
    frames = (objects - np.uint64(maps.memory)) >> np.uint64(_FRAME_SHIFT)
    if (frames >= page_frames).any():
        return [False]
    size = page.size.bit_length() - 1
    own = np.uint64(maps.pages) + (frames << np.uint64(size))
    heads = page.head_of(own, memory.words(own, page.head))
    found = memory.gather(heads, page.size)
    caches = word_at(found, slab.cache)
    sizes = memory.words(caches, slab.cache_size) & np.uint64(0xFFFFFFFF)
    starts = np.uint64(maps.memory) + (
        (heads - np.uint64(maps.pages)) >> np.uint64(size) << np.uint64(_FRAME_SHIFT)
    )
    slabs = is_slab(found, page) & (sizes > 0)
    whole = (objects - starts) % np.maximum(sizes, np.uint64(1)) == 0
    return [bool(one) for one in slabs & whole]
