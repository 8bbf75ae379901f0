"""Which parts of the account a kernel gives, and the words for those that it does not."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmemtrace.census.layout.memcg import StatisticLayout, TreeLayout
from kmemtrace.census.offered import kernel_refusal, offered
from kmemtrace.kernel.facts import Facts

ITEM = StatisticLayout(1, 2, 3, None, embedded=False)


@pytest.mark.parametrize(
    ("usage", "item", "v1", "says"),
    [
        (8, None, True, None),
        (None, ITEM, True, "no counter of it for cgroup v1"),
        (8, ITEM, False, None),
        (8, None, False, "before 5.18"),
    ],
)
def test_the_kernels_own_count(usage: int | None, item: Any, v1: bool, says: str | None) -> None:
    tree = cast("TreeLayout", SimpleNamespace(kmem_usage=usage, kernel_item=item))
    refusal = kernel_refusal(tree, v1=v1)
    assert refusal is None if says is None else says in (refusal or "")


def test_a_kernel_that_is_not_known_gives_nothing() -> None:
    class Nothing:
        release, machine = "9.9.0", "x86_64"

        def __getattr__(self, _: str) -> Any:
            return lambda *_asked: None

    found = offered(cast("Facts", Nothing()), 1 << 20, v1=False)
    assert set(found) == {"pages", "slab", "percpu", "stock", "kernel", "pinned", "sockets"}
    assert all("layout is not known" in (why or "") for why in found.values())
