"""Reads all memory cgroups that the kernel still has, those that were removed long ago included."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmemtrace.census.layout.memcg import OwnerLayout, StatisticLayout, TreeLayout
from kmemtrace.census.memory import KernelMemory, Words

_MOST = 1 << 20
"""Most cgroups, and most links of one list, that are read: what goes on beyond is a list that changed
underway."""
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Memcgs:
    """All memcgs as parallel arrays and lists, parents before their children; the root comes first."""

    addresses: Words
    parents: Words
    """Place of each one's parent in these arrays; the root is its own."""
    ids: Words
    """Ids of their cgroups; 0 where one could not be read."""
    serials: Words
    """Serial numbers, which are never given twice, as an address can be."""
    online: Words
    """1, and 0 for those whose charges stand for their parents by now."""
    removed: Words
    """1 for those that were removed and that something still pins."""
    paths: list[str]
    """Paths below the hierarchy's root: kernfs keeps the names of removed cgroups."""
    kernel_pages: Words | None
    """Pages of kernel memory that the kernel says were charged to each and to those below it; None where it
    does not say."""
    zswap_bytes: Words | None
    """Bytes of compressed swap of each and of those below it: it is charged as kernel memory and is in no
    slab."""


def read_memcgs(memory: KernelMemory, tree: TreeLayout, owner: OwnerLayout, *, v1: bool) -> Memcgs:
    """Reads the tree of memcgs from the current task's one upwards to the root, and down again.

    Args:
        memory: Reads the kernel's memory.
        tree: Leads through the tree.
        owner: Leads from a memcg to its cgroup.
        v1: Whether memory is accounted by cgroup v1, which has a counter for what v2 has a statistic for.

    Raises:
        OSError: BPF cannot be run any more.
    """
    root = _root(memory, tree)
    addresses, parents = _walk(memory, tree, root)
    nodes = memory.words(memory.words(addresses, owner.memcg_cgroup), owner.cgroup_kn)
    names = memory.names(memory.words(nodes, tree.kn_name), most=256)
    flags = memory.words(addresses, tree.css_flags & ~7) >> np.uint64(8 * (tree.css_flags % 8))
    return Memcgs(
        addresses,
        parents,
        memory.words(nodes, owner.kn_id),
        memory.words(addresses, tree.css_serial),
        (flags & np.uint64(tree.online_flag) != 0).astype("u8"),
        (flags & np.uint64(tree.dying_flag) != 0).astype("u8"),
        _paths(names, parents),
        kernel_pages(memory, tree, addresses, v1=v1),
        _zswap_bytes(memory, tree, addresses),
    )


def kernel_pages(memory: KernelMemory, tree: TreeLayout, memcgs: Words, *, v1: bool) -> Words | None:
    """Returns the pages charged to each memcg and to those below it; None where the kernel does not say."""
    if v1:
        return None if tree.kmem_usage is None else memory.words(memcgs, tree.kmem_usage)
    return None if tree.kernel_item is None else statistics(memory, tree.kernel_item, memcgs)


def _zswap_bytes(memory: KernelMemory, tree: TreeLayout, memcgs: Words) -> Words | None:
    if not _zswap_is_used():
        return np.zeros(len(memcgs), "u8")
    return None if tree.zswap_item is None else statistics(memory, tree.zswap_item, memcgs)


def _zswap_is_used(enabled: Path = Path("/sys/module/zswap/parameters/enabled")) -> bool:
    """Returns whether zswap is turned on.

    What was stored before it was turned off may be there still; but nobody turns it on to do so.
    """
    try:
        return enabled.read_text(encoding="ascii").strip() == "Y"
    except OSError:
        return False


def statistics(memory: KernelMemory, statistic: StatisticLayout, memcgs: Words) -> Words:
    """One number of each of them and of those below it, as of the last flush."""
    place = statistic.item if statistic.index is None else memory.word(statistic.index) & 0xFF
    if statistic.embedded:
        return memory.words(memcgs, statistic.statistics + statistic.state + 8 * place)
    return memory.words(memory.words(memcgs, statistic.statistics), statistic.state + 8 * place)


def _root(memory: KernelMemory, tree: TreeLayout) -> int:
    at = memory.word(memory.word(memory.current_task() + tree.task_cgroups) + tree.css_set_memory)
    for _ in range(_DEEPEST):
        parent = memory.word(at + tree.css_parent)
        if not parent:
            break
        at = parent
    return at


def _walk(memory: KernelMemory, tree: TreeLayout, root: int) -> tuple[Words, Words]:
    """Returns addresses, and the place of each one's parent among them, level by level."""
    found, parents = [np.array([root], "u8")], [np.zeros(1, "u8")]
    first, count = 0, 1
    while len(found[-1]) and count < _MOST:
        level, of = found[-1], first
        heads = level + np.uint64(tree.css_children)
        # Most have no children: their list's head points to itself.
        some = np.flatnonzero(memory.words(heads) != heads)
        below = [memory.links(int(heads[at]), _MOST) - np.uint64(tree.css_sibling) for at in some]
        found.append(np.concatenate([np.zeros(0, "u8"), *below]))
        parents.append(np.repeat(some.astype("u8") + np.uint64(of), [len(b) for b in below]))
        first, count = first + len(level), count + len(found[-1])
    return np.concatenate(found), np.concatenate(parents)


def _paths(names: list[str], parents: Words) -> list[str]:
    paths = ["/"]
    for name, parent in zip(names[1:], parents[1:].tolist(), strict=True):
        paths.append(f"{paths[parent].rstrip('/')}/{name}")
    return paths
