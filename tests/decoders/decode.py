"""Decodes a recording, as the census decodes a kernel's memory."""

from typing import Any

import numpy as np

from kmemtrace.census.layout.page import page_layout
from kmemtrace.census.layout.percpu import percpu_layout, stock_layout
from kmemtrace.census.layout.slab import slab_layout
from kmemtrace.census.memory import KernelMemory
from kmemtrace.census.pages import read_pages
from kmemtrace.census.percpu import read_areas
from kmemtrace.census.slabs import ObjectReader
from kmemtrace.census.stocks import read_stocks
from kmemtrace.kernel.facts import Facts

FRAMES = 16
"""Struct pages of a window: the largest block of the loads fits."""
PAGE_BYTES = 4096


def decode(
    memory: KernelMemory, facts: Facts, windows: list[int], chunk: int, stocks: list[int]
) -> dict[str, Any]:
    """As plain numbers: of each window the blocks; then objects, areas and stocks by owner."""
    layout, blocks = page_layout(facts), []
    reader = ObjectReader(memory, layout, slab_layout(facts))
    for window in windows:
        pages = read_pages(memory, layout, window, FRAMES, reader.add).charged
        columns = (pages.heads, pages.owners, pages.orders, pages.doubtful, pages.tables)
        blocks.append([list(map(int, block)) for block in zip(*columns, strict=True)])
    objects, caches = reader.result()
    sizes = caches.object_bytes.tolist()
    runs = zip(objects.caches.tolist(), objects.owners.tolist(), objects.counts.tolist(), strict=True)
    of_cache = [
        [caches.names[cache], sizes[cache], owner] for cache, owner, count in runs for _ in range(count)
    ]
    areas = read_areas(memory, percpu_layout(facts, PAGE_BYTES), chunk) if chunk else ((), ())
    kept = read_stocks(memory, stock_layout(facts), np.array(stocks, "u8"))
    return {
        "blocks": blocks,
        "objects": sorted(of_cache),
        "areas": [[int(owner), int(size)] for owner, size in zip(*areas, strict=True)],
        "stocks": [[int(owner), int(size)] for owner, size in zip(*kept, strict=True)],
    }
