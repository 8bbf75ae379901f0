"""What sockets' buffers are charged: where each kernel counts it, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.memcg import StatisticLayout
from kmemtrace.census.layout.socket import SocketCounterLayout, socket_layout
from kmemtrace.census.memcgs import Memcgs
from kmemtrace.census.sockets import NOT_COUNTED, Sockets, sockets_refusal
from kmemtrace.kernel.facts import Facts
from tests.decoders.recorded import RecordedMemory

COUNTER = {("mem_cgroup", "tcpmem"): 832, ("mem_cgroup", "tcpmem_active"): 1699}
PAGE_COUNTER = {("page_counter", "usage"): 0, ("page_counter", "parent"): 160}
INDEX = 1 << 40


@dataclass(frozen=True)
class Recorded:
    """What BTF and the symbol table say of it."""

    offsets: Mapping[tuple[str, str], int]
    items: int
    item: int
    sizes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    index: int | None = None

    def offset(self, struct: str, name: str) -> int | None:
        return self.offsets.get((struct, name))

    def field_size(self, struct: str, name: str) -> int | None:
        return self.sizes.get((struct, name))

    def enumerator(self, name: str, _enum: str | None = None) -> int | None:
        return {"MEMCG_NR_STAT": self.items, "MEMCG_SOCK": self.item}.get(name)

    def symbol(self, _name: str) -> int | None:
        return self.index


def statistics(at: int, items: int, item: int, **sizes: int) -> Recorded:
    """`sizes`: of the memcg's field, and of the array in a struct of their own, where there is one."""
    offsets, found = {("mem_cgroup", "vmstats"): at}, {("mem_cgroup", "vmstats"): sizes["field"]}
    if "state" in sizes:
        offsets["memcg_vmstats", "state"] = 0
        found["memcg_vmstats", "state"] = sizes["state"]
    return Recorded(offsets, items, item, found, sizes.get("index"))


# Of Debian's kernels on x86-64, but for 5.15, whose struct is that of 5.13 to 6.0.
V2 = {
    "5.10": (statistics(1152, 40, 38, field=320), StatisticLayout(1152, 0, 38, None, embedded=True)),
    "5.15": (
        statistics(1152, 42, 38, field=2560, state=336),
        StatisticLayout(1152, 0, 38, None, embedded=True),
    ),
    "6.1": (statistics(1536, 50, 44, field=8, state=400), StatisticLayout(1536, 0, 44, None, embedded=False)),
    "6.12": (
        statistics(1152, 54, 48, field=8, state=304, index=INDEX),
        StatisticLayout(1152, 0, 48, INDEX + 48, embedded=False),
    ),
}


@pytest.mark.parametrize("kernel", V2)
def test_where_v2_counts_them(kernel: str) -> None:
    facts, layout = V2[kernel]
    assert socket_layout(cast("Facts", facts), v1=False) == layout


def test_a_place_that_is_not_told_is_none() -> None:
    hidden = cast("Facts", statistics(1152, 54, 48, field=8, state=304))
    with pytest.raises(UnknownLayoutError, match="CONFIG_KALLSYMS_ALL"):
        socket_layout(hidden, v1=False)
    with pytest.raises(UnknownLayoutError, match="no tcpmem"):
        socket_layout(hidden, v1=True)


@pytest.mark.parametrize(
    ("facts", "v1", "cmdline", "says"),
    [
        (V2["6.1"][0], False, "quiet", None),
        (V2["6.1"][0], False, "cgroup.memory=nosocket", "nosocket"),
        (V2["6.1"][0], True, "quiet", "mem_cgroup has no tcpmem"),
        (Recorded({**COUNTER, **PAGE_COUNTER}, 50, 44), True, "quiet", "memory.kmem.tcp.limit_in_bytes"),
    ],
)
def test_why_they_are_not_read(
    facts: Recorded, v1: bool, cmdline: str, says: str | None, tmp_path: Path
) -> None:
    (tmp_path / "cmdline").write_text(f"{cmdline}\n")
    refusal = sockets_refusal(cast("Facts", facts), tmp_path / "cmdline", v1=v1)
    assert refusal is None if says is None else says in (refusal or "")


ROOT, ABOVE, BELOW, BESIDE = (number << 20 for number in range(1, 5))
ALL = np.array([ROOT, ABOVE, BESIDE, BELOW], "u8")


def memcgs() -> Memcgs:
    """The root, two below it, and one below the first of these, which was removed."""
    some = np.zeros(4, "u8")
    removed = np.array([0, 0, 0, 1], "u8")
    return Memcgs(
        addresses=ALL,
        parents=np.array([0, 0, 0, 1], "u8"),
        ids=some,
        serials=some,
        online=1 - removed,
        removed=removed,
        paths=["/", "/a", "/b", "/a/c"],
        kernel_pages=None,
        zswap_bytes=None,
    )


def read(facts: Recorded, words: dict[int, int], *, v1: bool) -> tuple[list[int | None], str | None]:
    """With why not all were read."""
    sockets = Sockets(RecordedMemory(words), cast("Facts", facts), v1=v1)
    return sockets.read(memcgs()), sockets.unseen


def counters(usage: dict[int, int], parents: dict[int, int], active: set[int]) -> dict[int, int]:
    layout = socket_layout(cast("Facts", Recorded({**COUNTER, **PAGE_COUNTER}, 50, 44)), v1=True)
    assert isinstance(layout, SocketCounterLayout)
    words = {at + layout.usage: pages for at, pages in usage.items()}
    words |= {at + layout.parent: parent + layout.counter for at, parent in parents.items()}
    byte = 8 * (layout.active % 8)
    # Beside it lie others' bytes: none of them tells anything.
    flags = {at: 0xFF << byte - 8 | (at in active) << byte | 0xFF << byte + 8 for at in ALL.tolist()}
    return words | {at + (layout.active & ~7): flag for at, flag in flags.items()}


V1 = Recorded({**COUNTER, **PAGE_COUNTER}, 50, 44)
TREE = {ABOVE: ROOT, BESIDE: ROOT, BELOW: ABOVE}


def test_v1_each_ones_own() -> None:
    words = counters({ROOT: 60, ABOVE: 53, BESIDE: 7, BELOW: 40}, TREE, {ABOVE, BESIDE, BELOW})
    assert read(V1, words, v1=True) == ([None, 13, 7, 40], None)


def test_v1_what_is_not_counted_is_not_0() -> None:
    words = counters({ROOT: 40, ABOVE: 40, BELOW: 40}, TREE, {BELOW})
    assert read(V1, words, v1=True) == ([None, None, None, 40], NOT_COUNTED)


def test_v1_without_use_hierarchy_a_parent_has_its_own_alone() -> None:
    """Then all are added to the root's at most."""
    words = counters(
        {ROOT: 60, ABOVE: 13, BESIDE: 7, BELOW: 40}, dict.fromkeys(TREE, ROOT), {ABOVE, BESIDE, BELOW}
    )
    assert read(V1, words, v1=True) == ([None, 13, 7, 40], None)


@pytest.mark.parametrize("kernel", V2)
def test_v2_each_ones_own(kernel: str) -> None:
    facts, layout = V2[kernel]
    state, words = {ROOT: 61, ABOVE: 53, BESIDE: 8, BELOW: 40}, {}
    place = layout.item if layout.index is None else 17
    if layout.index is not None:
        words = {layout.index & ~7: 17 << 8 * (layout.index % 8)}
    for at, pages in state.items():
        array = at + layout.statistics if layout.embedded else at + (1 << 16)
        words[at + layout.statistics] = 0 if layout.embedded else array
        words[array + 8 * place] = pages
    assert read(facts, words, v1=False) == ([0, 13, 8, 40], None)


def test_v2_what_was_not_flushed_yet_makes_none_negative() -> None:
    facts, layout = V2["5.10"]
    at = layout.statistics + 8 * layout.item
    assert read(facts, {ABOVE + at: 31, BELOW + at: 32}, v1=False) == ([0, 0, 0, 32], None)


def test_nothing_is_read_where_the_place_is_not_known() -> None:
    found, why = read(statistics(1152, 54, 48, field=8, state=304), {}, v1=False)
    assert found == [None] * 4
    assert "CONFIG_KALLSYMS_ALL" in (why or "")
