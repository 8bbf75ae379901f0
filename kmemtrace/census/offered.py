"""Tells which parts of the account a kernel lets be read, before anything is loaded."""

import resource
from collections.abc import Callable, Mapping

from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.memcg import TreeLayout, owner_layout, tree_layout
from kmemtrace.census.layout.page import page_layout
from kmemtrace.census.layout.percpu import percpu_layout, stock_layout
from kmemtrace.census.layout.pin import pin_layout
from kmemtrace.census.layout.slab import slab_layout
from kmemtrace.census.sockets import sockets_refusal
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.page_map import page_map
from kmemtrace.model.unseen import Unseen

NO_PAGE_MAP = "where this kernel keeps its struct pages is not known"
_PARTS = (
    Unseen.PAGES,
    Unseen.SLAB,
    Unseen.PERCPU,
    Unseen.STOCK,
    Unseen.KERNEL,
    Unseen.PINNED,
    Unseen.SOCKETS,
)


def offered(facts: Facts, page_frames: int, *, v1: bool) -> dict[Unseen, str | None]:
    """Tells for each part of the account why it cannot be had.

    Args:
        facts: What is known of the kernel.
        page_frames: One more than the number of the machine's highest page frame.
        v1: Whether memory is accounted by cgroup v1.

    Returns:
        By name of the part the reason; None where it can be had.
    """
    try:
        page_layout(facts), slab_layout(facts), owner_layout(facts)
        tree = tree_layout(facts)
    except UnknownLayoutError as error:
        return _told(dict.fromkeys(_PARTS, f"this kernel's layout is not known: {error}"))
    if page_map(facts, page_frames) is None:
        return _told(dict.fromkeys(_PARTS, NO_PAGE_MAP))
    page_bytes = resource.getpagesize()
    return _told(
        {
            Unseen.PERCPU: _refusal(lambda: percpu_layout(facts, page_bytes)),
            Unseen.STOCK: _refusal(lambda: stock_layout(facts)),
            Unseen.KERNEL: kernel_refusal(tree, v1=v1),
            Unseen.PINNED: _refusal(lambda: pin_layout(facts, page_bytes)),
            Unseen.SOCKETS: sockets_refusal(facts, v1=v1),
        }
    )


def kernel_refusal(tree: TreeLayout, *, v1: bool) -> str | None:
    """Returns why the kernel's own count of a cgroup's kernel memory cannot be had; None where it can."""
    if v1:
        return None if tree.kmem_usage is not None else "this kernel has no counter of it for cgroup v1"
    if tree.kernel_item is not None:
        return None
    return (
        "cgroup v2 has no count of it before 5.18, and from 6.11 on only the symbol table tells where it is "
        "(CONFIG_KALLSYMS_ALL, kernel.kptr_restrict)"
    )


def _refusal(find: Callable[[], object]) -> str | None:
    try:
        find()
    except UnknownLayoutError as error:
        return f"this kernel's layout of it is not known: {error}"
    return None


def _told(refusals: Mapping[Unseen, str | None]) -> dict[Unseen, str | None]:
    return {part: refusals.get(part) for part in _PARTS}
