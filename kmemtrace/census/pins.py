"""What keeps a removed cgroup: pages of user space's that are still charged to it, and mere references."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kmemtrace.census.layout.page import PageLayout
from kmemtrace.census.layout.pin import PinLayout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.pages import head_orders, is_charged, is_slab, page_maps, word_at
from kmemtrace.model.census import Pin, PinKind

_MOST_FILES = 16
"""Of one cgroup that are told by name; the others are added up."""
_DEEPEST = 40
_NAME_BYTES = 128


@dataclass(frozen=True, slots=True)
class _Pages:
    """Of user space's memory, charged to a removed cgroup: parallel arrays, an entry for each folio."""

    memcgs: Words
    mappings: Words
    swap_backed: Words
    pages: Words


def read_pins(
    memory: KernelMemory, page: PageLayout, layout: PinLayout, start: int, frames: int, memcgs: Words
) -> dict[int, tuple[Pin, ...]]:
    """By struct mem_cgroup, most bytes first. `memcgs`: those asked about."""
    if not len(memcgs):
        return {}
    found = _pages_of(memory, page, layout, start, frames, np.sort(memcgs))
    sums: dict[int, dict[tuple[PinKind, int], int]] = defaultdict(lambda: defaultdict(int))
    for memcg, mapping, swap_backed, pages in zip(
        found.memcgs.tolist(),
        found.mappings.tolist(),
        found.swap_backed.tolist(),
        found.pages.tolist(),
        strict=True,
    ):
        kind = PinKind.ANON if mapping & 3 else PinKind.SHMEM if swap_backed else PinKind.FILE
        sums[memcg][kind, 0 if kind is PinKind.ANON else mapping] += pages * layout.page_bytes
    return {memcg: tuple(_pins(memory, layout, of)) for memcg, of in sums.items()}


def _pages_of(
    memory: KernelMemory, page: PageLayout, layout: PinLayout, start: int, frames: int, memcgs: Words
) -> _Pages:
    parts: list[tuple[Words, ...]] = []
    address = start
    for pages in page_maps(memory, page, start, frames):
        owners = word_at(pages, page.owner)
        place = np.searchsorted(memcgs, owners).clip(max=len(memcgs) - 1)
        at = np.flatnonzero((owners != 0) & (memcgs[place] == owners))
        mine = pages[at]
        at = at[~is_charged(mine, page) & ~is_slab(mine, page)]
        mine = pages[at]
        heads = np.uint64(address) + at.astype("u8") * np.uint64(page.size)
        parts.append(
            (
                word_at(mine, page.owner),
                word_at(mine, layout.page_mapping),
                word_at(mine, page.flags) >> np.uint64(layout.swap_backed_bit) & np.uint64(1),
                heads,
                word_at(mine, page.flags) >> np.uint64(page.head_bit) & np.uint64(1),
            )
        )
        address += len(pages) * page.size
    owners, mappings, swap_backed, heads, compound = map(np.concatenate, zip(*parts, strict=True))
    orders = np.zeros(len(heads), "u8")
    orders[compound == 1] = head_orders(memory, page, heads[compound == 1])
    return _Pages(owners, mappings, swap_backed, np.uint64(1) << orders)


def _pins(memory: KernelMemory, layout: PinLayout, of: dict[tuple[PinKind, int], int]) -> list[Pin]:
    largest = sorted(of.items(), key=lambda item: -item[1])
    named = [item for item in largest if item[0][1]][:_MOST_FILES]
    pins = [_file(memory, layout, kind, mapping, size) for (kind, mapping), size in named]
    rest: dict[PinKind, int] = defaultdict(int)
    for (kind, mapping), size in largest:
        if not mapping or ((kind, mapping), size) not in named:
            rest[kind] += size
    pins += [Pin(kind, size) for kind, size in rest.items()]
    return sorted(pins, key=lambda pin: -pin.bytes)


def _file(memory: KernelMemory, layout: PinLayout, kind: PinKind, mapping: int, size: int) -> Pin:
    inode = memory.word(mapping + layout.mapping_host)
    super_block = memory.word(inode + layout.inode_super)
    number = memory.word(inode + layout.inode_number)
    alias = memory.word(inode + layout.inode_dentries)
    path = _path(memory, layout, alias - layout.dentry_alias) if alias else None
    (device,) = memory.names(np.array([super_block + layout.super_name], "u8"), 32)
    return Pin(kind, size, device, number, path)


def _path(memory: KernelMemory, layout: PinLayout, dentry: int) -> str:
    """Below the root of its file system, as far as the kernel knows the names above it."""
    names: list[str] = []
    for _ in range(_DEEPEST):
        parent = memory.word(dentry + layout.dentry_parent)
        if not parent or parent == dentry:
            break
        (name,) = memory.names(np.array([memory.word(dentry + layout.dentry_name)], "u8"), _NAME_BYTES)
        names.append(name)
        dentry = parent
    return "/" + "/".join(reversed(names))
