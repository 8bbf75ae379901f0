"""Takes one census: every charged page and object of the machine, added up by cgroup."""

import time
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kmemtrace.census.direct_map import page_map_at
from kmemtrace.census.holdings import PAGE_BYTES, Holdings, KernelCount, Sums
from kmemtrace.census.layout.find import UnknownLayoutError
from kmemtrace.census.layout.memcg import OwnerLayout, TreeLayout, owner_layout, tree_layout
from kmemtrace.census.layout.page import PageLayout, page_layout
from kmemtrace.census.layout.pin import PinLayout, pin_layout
from kmemtrace.census.layout.slab import SlabLayout, slab_layout
from kmemtrace.census.memcgs import Memcgs, kernel_pages, read_memcgs
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.offered import kernel_refusal
from kmemtrace.census.owners import Owners, objcgs_of, read_owners
from kmemtrace.census.pages import read_pages
from kmemtrace.census.percpu import Chunks
from kmemtrace.census.pins import Pinned, PinReader, told_pins
from kmemtrace.census.slabs import ObjectReader
from kmemtrace.census.sockets import Sockets
from kmemtrace.census.stocks import Stocks
from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts, lowest_page_frame
from kmemtrace.model.census import Census, Counted, Removed
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import CgroupKey
from kmemtrace.model.unseen import Unseen


@dataclass(frozen=True, slots=True)
class _Layouts:
    """Where this kernel keeps what a census reads."""

    page: PageLayout
    slab: SlabLayout
    owner: OwnerLayout
    tree: TreeLayout


class Censor:
    """Takes censuses. A context manager: nothing is attached, and it holds 1 MB of the kernel's memory."""

    def __init__(self, facts: Facts, page_frames: int, hierarchy: MemoryHierarchy) -> None:
        """Works out how this kernel lays out its memory, and loads the programs that read it.

        Args:
            facts: What is known of the running kernel.
            page_frames: One more than the number of the machine's highest page frame.
            hierarchy: The cgroup hierarchy that memory is accounted by.

        Raises:
            CannotError: The kernel's layout is not known, BPF cannot be had, or the struct pages are not
                found.
        """
        try:
            self._layouts = _Layouts(
                page_layout(facts), slab_layout(facts), owner_layout(facts), tree_layout(facts)
            )
        except UnknownLayoutError as error:
            raise CannotError(
                f"This kernel ({facts.release}) keeps its memory in a way that kmemtrace does not know: "
                f"{error}. Please report it with the output of `kmemtrace check`."
            ) from None
        self._first, self._frames, self._hierarchy = lowest_page_frame(), page_frames, hierarchy
        self._memory = KernelMemory(facts.release)
        try:
            self._page_map = page_map_at(self._memory, facts, page_frames)
        except CannotError:
            self._memory.close()
            raise
        self._pins, self._pins_unseen = _pin_layout(facts)
        self._chunks = Chunks(self._memory, facts, PAGE_BYTES)
        self._stocks = Stocks(self._memory, facts)
        self._sockets = Sockets(self._memory, facts, v1=self._v1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()

    def interrupt(self) -> None:
        """Ends a census that another thread takes at once, by an InterruptedReadingError.

        No census can be taken afterwards.
        """
        self._memory.interrupt()

    def take(self) -> Census:
        """Takes a census.

        What changes while it is taken may be found twice, or not at all.

        Returns:
            The census, with those cgroups first that most was found of.

        Raises:
            OSError: BPF programs cannot be run any more, or memory.stat cannot be read.
            InterruptedReadingError: interrupt() was called.
        """
        return self._take()[0]

    def _take(self) -> tuple[Census, Memcgs, Pinned]:
        """Takes a census; returns beside it the memcgs of the machine, and what pins the removed ones."""
        begin, cpu = time.monotonic(), time.thread_time()
        memory, lay, memcgs = self._memory, self._layouts, self._memcgs()
        sockets = self._sockets.read(memcgs)
        chunks, reader = self._chunks, ObjectReader(memory, lay.page, lay.slab)
        pins = PinReader(lay.page, self._pins, memcgs.addresses[memcgs.removed == 1])
        before_pages = time.thread_time()
        found = read_pages(memory, lay.page, *self.struct_pages, reader.add, pins.look, chunks.sought)
        pages_cpu = time.thread_time() - before_pages - reader.cpu_seconds
        pages, (objects, caches), pinned = found.charged, reader.result(), pins.result(memory)
        chunks.find(found.chunks)
        areas = chunks.read()
        nobody = np.zeros(0, "u8")
        of_pages = (pages.owners, nobody) if lay.page.owner_is_objcg else (nobody, pages.owners)
        all_of_them = objcgs_of(memory, lay.owner, memcgs.addresses[memcgs.online == 1])
        objcgs = np.concatenate([objects.owners, areas.owners, of_pages[0], all_of_them])
        owners = read_owners(memory, lay.owner, objcgs, of_pages[1], self._stocks.read())
        counted = self._counted(memcgs, owners, Holdings(pages, objects, caches, areas), sockets)
        census = Census(
            time=time.time(),
            seconds=time.monotonic() - begin,
            cpu_seconds=time.thread_time() - cpu,
            pages_cpu_seconds=pages_cpu,
            page_frames=self._frames - self._first,
            blocks=len(pages.heads),
            objects=int(objects.counts.sum()),
            cgroups=tuple(sorted(counted, key=lambda c: (-c.account.explained_bytes, c.path))),
            pinned={} if self._pins is None else pinned.bytes_of(PAGE_BYTES),
            unseen=self._unseen(),
        )
        return census, memcgs, pinned

    def removed(self) -> tuple[Removed, ...]:
        """Takes a census to find the removed cgroups that the kernel still has.

        Returns:
            The removed cgroups, those with the most pinned bytes first.

        Raises:
            CannotError: The kernel does not tell what keeps a removed cgroup.
            OSError: BPF programs cannot be run any more.
        """
        if self._pins is None:
            raise CannotError(f"This kernel does not tell what keeps a removed cgroup: {self._pins_unseen}.")
        census, memcgs, pinned = self._take()
        memory, layout = self._memory, self._pins
        by_id = {counted.key.id: counted for counted in census.cgroups}
        gone = np.flatnonzero(memcgs.removed)
        addresses = memcgs.addresses[gone]
        pins = told_pins(memory, layout, pinned)
        references = memory.words(memory.words(addresses, layout.css_references), layout.count)
        below = np.bincount(memcgs.parents[gone].astype("i8"), minlength=len(memcgs.addresses))
        found = [
            Removed(by_id[cgroup], pins.get(address, ()), count, int(below[at]))
            for at, cgroup, address, count in zip(
                gone.tolist(), memcgs.ids[gone].tolist(), addresses.tolist(), references.tolist(), strict=True
            )
        ]
        return tuple(sorted(found, key=lambda one: (-one.held_bytes, one.counted.path)))

    @property
    def struct_pages(self) -> tuple[int, int]:
        """The address of the first struct page that memory has, and how many there are from there on."""
        return self._page_map + self._first * self._layouts.page.size, self._frames - self._first

    def _unseen(self) -> dict[Unseen, str]:
        """Returns by part of the account why a census does not tell it; parts that it tells are absent."""
        reasons = {
            Unseen.PERCPU: self._chunks.unseen,
            Unseen.STOCK: self._stocks.unseen,
            Unseen.PINNED: self._pins_unseen,
        }
        reasons[Unseen.KERNEL] = kernel_refusal(self._layouts.tree, v1=self._v1)
        reasons[Unseen.SOCKETS] = self._sockets.unseen
        return {part: why for part, why in reasons.items() if why is not None}

    def _memcgs(self) -> Memcgs:
        self._flush()
        return read_memcgs(self._memory, self._layouts.tree, self._layouts.owner, v1=self._v1)

    def _kernel_pages(self, memcgs: Memcgs) -> Words | None:
        """Reads the kernel's counts of kernel memory as they are now."""
        self._flush()
        return kernel_pages(self._memory, self._layouts.tree, memcgs.addresses, v1=self._v1)

    def _flush(self) -> None:
        """Has the kernel bring its counts up to date."""
        if not self._v1:  # to read the root's has the kernel add up what each CPU counted
            (self._hierarchy.mount / "memory.stat").read_bytes()

    @property
    def _v1(self) -> bool:
        return self._hierarchy.version == 1

    def _counted(
        self, memcgs: Memcgs, owners: Owners, holdings: Holdings, sockets: list[int | None]
    ) -> list[Counted]:
        """Adds up each memcg's pages and objects; those of no memcg in the tree count for none."""
        order = np.argsort(memcgs.addresses)
        place = np.searchsorted(memcgs.addresses[order], owners.memcgs).clip(max=len(order) - 1)
        group = order[place]
        group[memcgs.addresses[group] != owners.memcgs] = len(order)  # one more, for those of none
        sums = Sums(group, len(order) + 1, owners, holdings)
        kernel = _kernel_counts(memcgs, self._kernel_pages(memcgs), sockets)
        tables, percpu = self._layouts.page.table_type is not None, self._chunks.unseen is None
        return [
            Counted(
                CgroupKey(self._hierarchy.hierarchy_id, int(memcgs.ids[i])),
                path,
                CgroupState.DEAD if memcgs.removed[i] else CgroupState.ONLINE,
                sums.account(i, kernel[i], tables=tables, percpu=percpu),
            )
            for i, path in enumerate(memcgs.paths)
        ]


def _pin_layout(facts: Facts) -> tuple[PinLayout | None, str | None]:
    """Returns the layout of what pins removed cgroups; where there is none, the reason as well."""
    try:
        return pin_layout(facts, PAGE_BYTES), None
    except UnknownLayoutError as error:
        return None, str(error)


def _kernel_counts(memcgs: Memcgs, pages_after: Words | None, sockets: list[int | None]) -> list[KernelCount]:
    """Returns what the kernel itself counts of each memcg.

    Args:
        memcgs: The memcgs, with the counts as they were when the census began.
        pages_after: Their kernel_pages once more, read when all else had been read; by how much they differ
            is how far the counts changed meanwhile. None where the kernel has no such counts.
        sockets: Pages of each memcg's socket buffers; None where that is not told.
    """
    before, after, zswap = (_own(memcgs, n) for n in (memcgs.kernel_pages, pages_after, memcgs.zswap_bytes))
    return [
        KernelCount(
            None if before is None else int(before[i]) * PAGE_BYTES,
            0 if before is None or after is None else abs(int(after[i] - before[i])) * PAGE_BYTES,
            None if zswap is None else int(zswap[i]),
            None if of_sockets is None else of_sockets * PAGE_BYTES,
        )
        for i, of_sockets in enumerate(sockets)
    ]


def _own(memcgs: Memcgs, counts: Words | None) -> NDArray[np.int64] | None:
    """Takes the children's counts off each memcg's count, so that each cgroup's own remains.

    What a removed cgroup was charged is on its parent's count too, and its own count stands still (5.13+: its
    objcgs stand for its parent). So the parent's count is taken as it is, and the removed one's is 0.
    """
    if counts is None:
        return None
    living = memcgs.online == 1
    own = np.where(living, counts, 0).astype("i8")
    below = own.copy()
    below[0] = 0  # the root is nobody's child
    np.subtract.at(own, memcgs.parents, below)
    return own
