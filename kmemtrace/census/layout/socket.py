"""Where the kernel counts what sockets' buffers are charged, which is no kernel memory in its own sums."""

from dataclasses import dataclass

from kmemtrace.census.layout.find import UnknownLayoutError, at
from kmemtrace.census.layout.memcg import StatisticLayout, statistic_layout
from kmemtrace.kernel.facts import Facts


@dataclass(frozen=True, slots=True)
class SocketCounterLayout:
    """cgroup v1's counter of them, in struct mem_cgroup, in pages."""

    counter: int
    usage: int
    parent: int
    """Of the pointer to the counter that this one is added to."""
    active: int
    """Of the byte that is set from the first time on that its limit is written: before, none is counted."""


SocketLayout = SocketCounterLayout | StatisticLayout
"""Of cgroup v1, and of v2."""


def socket_layout(facts: Facts, *, v1: bool) -> SocketLayout:
    """Raises UnknownLayoutError."""
    if v1:
        counter = at(facts, "mem_cgroup", "tcpmem")
        return SocketCounterLayout(
            counter,
            counter + at(facts, "page_counter", "usage"),
            counter + at(facts, "page_counter", "parent"),
            at(facts, "mem_cgroup", "tcpmem_active"),
        )
    found = statistic_layout(facts, "MEMCG_SOCK")
    if found is None:
        raise UnknownLayoutError(
            "from 6.11 on only the symbol table tells where it is (CONFIG_KALLSYMS_ALL, kernel.kptr_restrict)"
        )
    return found
