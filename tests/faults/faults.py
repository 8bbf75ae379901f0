"""The faults: each breaks the promise once, with the kernel's own functions, from outside the guest.

What a fault leaves behind is a wrong counter of a test's cgroup, never memory that is still in use: where
one drops a reference too many, another page's is kept for it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.model.enums import MismatchClass
from tests.faults.kernel import Kernel

_SETTLED_SECONDS = 1.5

Run = Callable[[Path, Callable[[], int]], int]
"""Does something in a child process in a cgroup, and gives what it answered."""


@dataclass(frozen=True)
class Scene:
    kernel: Kernel
    run: Run
    mine: Path
    """The cgroup in which it happens."""
    other: Path
    parent: Path
    """Of `mine`, itself a cgroup that was charged."""
    parents_page: int
    """A page that is charged to it."""

    def is_of(self, path: str | None) -> bool:
        """Whether that is one of its cgroups, whose names are its alone."""
        return path is not None and not {self.parent.name, self.other.name}.isdisjoint(path.split("/"))


def mark_cleared(scene: Scene) -> None:
    kernel = scene.kernel
    page = scene.run(scene.mine, kernel.alloc)
    kernel.set_marks(page, kernel.unmarked)
    scene.run(scene.mine, lambda: _free(kernel, page))


def mark_cleared_and_handed_out_again(scene: Scene) -> None:
    """The allocator gives the page that a CPU freed last: its record has to be the new charge's."""
    kernel = scene.kernel
    page = scene.run(scene.mine, kernel.alloc)
    kernel.set_marks(page, kernel.unmarked)

    def use_again() -> int:
        kernel.free(page)
        again = kernel.alloc()
        kernel.free(again)
        return again

    scene.run(scene.mine, use_again)


def owner_is_another_cgroup(scene: Scene) -> None:
    _exchange(scene, scene.run(scene.other, scene.kernel.alloc))


def owner_is_the_parent(scene: Scene) -> None:
    """While the cgroup is alive: only from a removed one may its parent take over."""
    _exchange(scene, scene.parents_page)


def _exchange(scene: Scene, theirs: int) -> None:
    """Two pages change owners, so that each cgroup loses as many as it gains."""
    kernel = scene.kernel
    page = scene.run(scene.mine, kernel.alloc)
    kernel.swap_owners(page, theirs)
    scene.run(scene.mine, lambda: _free(kernel, page))
    scene.run(scene.mine, lambda: _free(kernel, theirs))


def mark_on_an_uncharged_page(scene: Scene) -> None:
    """The mark is another page's, which goes without."""
    kernel = scene.kernel
    uncharged = scene.run(scene.mine, lambda: kernel.alloc(account=False))
    charged = scene.run(scene.mine, kernel.alloc)
    kernel.swap_owners(uncharged, charged)
    scene.run(scene.mine, lambda: _free(kernel, uncharged))
    scene.run(scene.mine, lambda: _free(kernel, charged))


def uncharged_twice(scene: Scene) -> None:
    """The mark is put back after the uncharge; a page that is then never uncharged evens it out."""
    kernel = scene.kernel
    page = scene.run(scene.mine, kernel.alloc)
    marks = kernel.marks(page)

    def twice() -> int:
        kernel.uncharge(page)
        kernel.set_marks(page, marks)
        kernel.uncharge(page)
        kernel.free(page)
        return page

    scene.run(scene.mine, twice)
    mark_cleared(scene)


def reference_held_while_a_block_is_freed(scene: Scene) -> None:
    """___free_pages(): a block whose first page somebody has a reference to is freed in parts without
    having been split; its put then uncharges one page of the eight (e320d3012d25 mended the leak of
    memory, not that of the charge)."""
    scene.run(scene.mine, lambda: lose_seven(scene.kernel))


def lose_seven(kernel: Kernel) -> int:
    page = kernel.alloc(3)
    kernel.set_refcount(page, 2)
    kernel.free(page, 3)
    kernel.put(page)
    return page


def split_without_marks(scene: Scene) -> None:
    """The eight pages of a block are freed one by one, of which the first alone is marked."""
    kernel = scene.kernel
    page = scene.run(scene.mine, lambda: kernel.alloc(3))
    for number in range(1, 8):
        kernel.set_refcount(kernel.tail(page, number), 1)
    for number in range(8):
        scene.run(scene.mine, lambda n=number: _free(kernel, kernel.tail(page, n)))  # type: ignore[misc]


def charge_left_out(scene: Scene) -> None:
    """By a task that was charged before, and has been in its cgroup for a while: else it is taken for one
    on its way from another."""
    kernel = scene.kernel
    charge = kernel.address("__memcg_kmem_charge_page")

    def alloc() -> int:
        kernel.free(kernel.alloc())
        time.sleep(_SETTLED_SECONDS)
        return kernel.alloc(left_out=charge)

    page = scene.run(scene.mine, alloc)
    scene.run(scene.mine, lambda: _free(kernel, page))


def _free(kernel: Kernel, page: int, order: int = 0) -> int:
    kernel.free(page, order)
    return page


@dataclass(frozen=True)
class Fault:
    do: Callable[[Scene], None]
    found: Mapping[MismatchClass, int]
    """What there is to be found, by function probes."""
    without_functions: Mapping[MismatchClass, int]
    """What raw tracepoints alone show of it."""
    lost: int = 0
    """Pages that the cgroups in which it happens lose by what there is to be found."""
    taken: int = 0
    """Pages that go off their counters, or another's, without having been charged there."""


_LOST, _STRAY, _SIZE, _WRONG, _UNCHARGED = (
    MismatchClass.LOST_UNCHARGE,
    MismatchClass.STRAY_UNCHARGE,
    MismatchClass.SIZE_MISMATCH,
    MismatchClass.WRONG_CGROUP,
    MismatchClass.UNCHARGED_ALLOC,
)

FAULTS = (
    Fault(mark_cleared, {_LOST: 1}, {}, lost=1),
    Fault(mark_cleared_and_handed_out_again, {_LOST: 1}, {}, lost=1),
    Fault(owner_is_another_cgroup, {_WRONG: 2}, {_WRONG: 2}, lost=2, taken=2),
    Fault(owner_is_the_parent, {_WRONG: 2}, {_WRONG: 2}, lost=2, taken=2),
    Fault(mark_on_an_uncharged_page, {_STRAY: 1, _LOST: 1}, {}, lost=1, taken=1),
    Fault(uncharged_twice, {_STRAY: 1, _LOST: 1}, {}, lost=1, taken=1),
    Fault(reference_held_while_a_block_is_freed, {_SIZE: 1}, {}, lost=7),
    Fault(split_without_marks, {_SIZE: 1}, {}, lost=7),
    Fault(charge_left_out, {_UNCHARGED: 1}, {_UNCHARGED: 1}),
)
"""All but the tenth, a counter that moves without a page: only `verify` reconciles counters."""
