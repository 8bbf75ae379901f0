"""A model of a correct kernel: pages that are charged and uncharged as kernels do it, many at a time.

Every event that it makes goes to the machine's programs, unless it is dropped.
"""

import random
from collections.abc import Callable, Iterator
from enum import Enum

from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.missed import Missed
from tests.rules.machine import GFP_ACCOUNT, PAGES, SUBTREE, Machine

PF_EXITING, PF_KTHREAD = 0x4, 0x200000
HEAD = 1 << 6
_ATTACHING = (
    "split",
    "put_uncharge_batch",
    "put_uncharge",
    "uncharge",
    "charge_exit",
    "charge_entry",
    "page_alloc",
)
"""In the Plan's order, after page_free."""

Life = Iterator[None]
Block = tuple[int, int]
"""First page and order."""


class Drops(Enum):
    """Which events are dropped, and whether somebody counts that."""

    COUNTED = "any, and counted, as of a program that is re-entered on its CPU"
    OF_INTERRUPTS = "those of interrupts, uncounted: kprobes before 6.7"
    OF_FREES = (
        "frees, uncounted: a kernel that has no tracepoints in its idle tasks, which free page directories"
    )


class Cgroup:
    def __init__(self, machine: Machine, number: int, parent: int) -> None:
        self.memcg = machine.memcg(number)
        self.objcg = machine.objcg(self.memcg)
        self.parent, self.alive = parent, True


class ModelKernel:
    def __init__(self, machine: Machine, rnd: random.Random, drop: float, drops: Drops) -> None:
        """`drop`: the share, of those that `drops` says, of events that is dropped."""
        self._machine, self._rnd, self._drop, self._drops = machine, rnd, drop, drops
        self._cgroups = [Cgroup(machine, SUBTREE + i, machine.root) for i in range(3)]
        self._free = set(range(PAGES))
        self._lives: list[Life] = []
        self._attached: set[str] = set()
        self._now = self._dropped = 0
        self._interrupt = False
        self.missed = Missed()
        self.found: list[Records] = []
        self.searched_from: float | None = None
        self.confirmed_at: float | None = None
        self._under_way: set[int] = set()
        """Numbers of the uncharges of which the program ran, and the mark is not gone yet."""

    def run(self, steps: int) -> None:
        """Some lives before the tracer starts, its start with lives going on, then `steps`, and all
        lives to their end."""
        self._turn(self._rnd.randrange(40))
        self._attached.add("page_free")
        for program in _ATTACHING:
            if program in self._machine.programs:
                self._turn(self._rnd.randrange(4))
                self._attached.add(program)
        self._turn(self._rnd.randrange(10))
        self._search()
        self._turn(steps // 4)
        self._confirm()
        self._turn(steps - steps // 4)
        while self._lives:
            self._step(self._rnd.choice(self._lives))
        self.snapshot()

    def _search(self) -> None:
        """For what was charged before, with events going on."""
        self.searched_from = self._tick() / 1e9
        self.snapshot()
        found = self._machine.look_for_charged()
        for number in found:
            self._turn(self._rnd.randrange(3))
            self._tick()
            self._machine.event("adopt", self._machine.page(number))
        self._machine.set_scanned()
        self.snapshot()

    def _confirm(self) -> None:
        """When the uncharges that were under way at the end of the search are over."""
        under_way = set(self._under_way)
        while under_way & self._under_way:
            self._step(self._rnd.choice(self._lives))
        self._machine.confirm()
        self.confirmed_at = self._tick() / 1e9

    def snapshot(self) -> None:
        self.found += self._machine.findings()
        self.missed.note(self._tick() / 1e9, self._dropped)

    def _turn(self, steps: int) -> None:
        for _ in range(steps):
            chance = self._rnd.random()
            if chance < 0.03:
                self.snapshot()
            elif chance < 0.04:
                self._remove_a_cgroup()
            elif chance < 0.35 or not self._lives:
                self._begin()
            else:
                self._step(self._rnd.choice(self._lives))

    def _step(self, life: Life) -> None:
        """To just after the life's next event: between two of its events others have theirs."""
        try:
            next(life)
        except StopIteration:
            self._lives.remove(life)

    def _begin(self) -> None:
        block = self._take(self._rnd.choice((0, 0, 0, 1, 2, 3)))
        if block is not None:
            kinds = (self._charged, self._explicit, self._exempt, self._refused, self._unaccounted)
            self._lives.append(self._rnd.choice(kinds)(block))

    def _take(self, order: int) -> Block | None:
        fitting = [
            head
            for head in range(0, PAGES, 1 << order)
            if self._free.issuperset(range(head, head + (1 << order)))
        ]
        if not fitting:
            return None
        head = self._rnd.choice(fitting)
        self._free.difference_update(range(head, head + (1 << order)))
        return head, order

    def _tick(self) -> int:
        self._now += self._rnd.randrange(1, 1000)
        self._machine.set_time(self._now)
        return self._now

    def _event(self, program: str, *arguments: int) -> None:
        self._deliver(program, lambda: self._machine.event(program, *arguments))

    def _deliver(self, program: str, run: Callable[[], None]) -> None:
        self._tick()
        if program not in self._attached:
            return
        droppable = {
            Drops.COUNTED: True,
            Drops.OF_INTERRUPTS: self._interrupt and program[:5] != "page_",
            Drops.OF_FREES: program == "page_free",
        }
        if droppable[self._drops] and self._rnd.random() < self._drop:
            self._dropped += self._drops is Drops.COUNTED
            return
        run()

    def _context(self, cgroup: Cgroup | None, *, interrupt: bool = False, flags: int = 0) -> None:
        """Who the next event's task is; of the root cgroup with None."""
        self._machine.enter(*((cgroup.memcg, cgroup.objcg) if cgroup else (self._machine.root, 0)))
        self._machine.set_flags(flags)
        self._machine.set_active(0)
        self._interrupt = interrupt
        self._machine.set_interrupt(interrupt)

    def _anyone(self, *, interrupt: bool = True) -> None:
        """Whoever ends a charge need not be who was charged, and may be an interrupt."""
        self._context(
            self._rnd.choice([None, *self._cgroups]),
            interrupt=interrupt and self._rnd.random() < 0.4,
            flags=self._rnd.choice((0, PF_EXITING, PF_KTHREAD)),
        )

    def _alive(self) -> Cgroup | None:
        return self._rnd.choice([None, *(c for c in self._cgroups if c.alive)])

    def _remove_a_cgroup(self) -> None:
        """Its objcg stands for its parent from now on; another one takes its place."""
        cgroup = self._rnd.choice(self._cgroups)
        cgroup.alive = False
        self._machine.poke(cgroup.objcg, cgroup.parent)
        self._machine.poke(cgroup.memcg + 8, 0)
        self._cgroups.remove(cgroup)
        self._cgroups.append(Cgroup(self._machine, self._rnd.randrange(20, 1 << 30), self._machine.root))

    def _charge(self, block: Block, gfp: int, cgroup: Cgroup, *, fails: bool = False) -> Life:
        head, order = block
        page = self._machine.page(head)
        self._context(cgroup)
        self._event("charge_entry", page, gfp, order)
        yield
        self._context(cgroup)
        if not fails:
            self._machine.mark(head, cgroup.objcg)
        self._event("charge_exit", page, gfp, order, (1 << 64) - 12 if fails else 0)
        yield

    def _charged(self, block: Block) -> Life:
        """An accounted allocation, perhaps for another cgroup, and its end."""
        head, order = block
        cgroup = self._alive()
        if cgroup is None:
            yield from self._exempt(block)
            return
        remote = self._rnd.random() < 0.2
        yield from self._charge(block, GFP_ACCOUNT, cgroup)
        self._context(self._alive() if remote else cgroup)
        self._machine.set_active(cgroup.memcg if remote else 0)
        self._event("page_alloc", self._machine.page(head), order, GFP_ACCOUNT, 0)
        yield
        compound = order > 0 and self._rnd.random() < 0.5
        if compound:
            self._machine.make_compound(head, order)
        yield from self._end(block, compound=compound)

    def _explicit(self, block: Block) -> Life:
        """Charged later than it was allocated: a thread's stack."""
        yield from self._allocated(block, 0)
        cgroup = self._alive()
        if cgroup is not None:
            yield from self._charge(block, 0, cgroup)
        if cgroup is None:
            yield from self._freed(block)
        elif self._drops is Drops.OF_FREES:  # a record that is stale would be taken for its own
            yield from self._uncharged_first(block)
        else:
            yield from self._end(block, compound=False)

    def _refused(self, block: Block) -> Life:
        cgroup = self._alive()
        if cgroup is not None:
            yield from self._charge(block, GFP_ACCOUNT, cgroup, fails=True)
        yield from self._freed(block)

    def _exempt(self, block: Block) -> Life:
        """Accounted, and legally charged to nobody."""
        cgroup = self._rnd.choice(self._cgroups)
        why = self._rnd.randrange(5)
        self._context(
            None if why == 0 else cgroup,
            interrupt=why == 1,
            flags={2: PF_EXITING, 3: PF_KTHREAD}.get(why, 0),
        )
        if why == 4:
            self._machine.enter(cgroup.memcg, cgroup.objcg | 1)
        self._event("page_alloc", self._machine.page(block[0]), block[1], GFP_ACCOUNT, 0)
        yield
        yield from self._freed(block)

    def _unaccounted(self, block: Block) -> Life:
        yield from self._allocated(block, 0)
        yield from self._freed(block)

    def _allocated(self, block: Block, gfp: int) -> Life:
        self._context(self._alive())
        self._event("page_alloc", self._machine.page(block[0]), block[1], gfp, 0)
        yield

    def _end(self, block: Block, *, compound: bool) -> Life:
        """Of a charged block, whole or, after a split, page by page in any order."""
        head, order = block
        ends: list[Callable[[Block], Life]] = [self._direct, self._uncharged_first]
        if order == 0 or compound:
            ends += [self._put, self._put_in_a_batch]
        if order and not compound and self._rnd.random() < 0.6:
            yield from self._split(block)
            parts = [(page, 0) for page in range(head, head + (1 << order))]
            self._rnd.shuffle(parts)
            ends += [self._put, self._put_in_a_batch]
            lives = [self._rnd.choice(ends)(part) for part in parts]
            while lives:
                life = self._rnd.choice(lives)
                try:
                    next(life)
                    yield
                except StopIteration:
                    lives.remove(life)
            return
        yield from self._rnd.choice(ends)(block)

    def _split(self, block: Block) -> Life:
        head, order = block
        self._anyone(interrupt=False)
        self._event("split", self._machine.page(head), order)
        owner = self._machine.owner(head)
        for page in range(head, head + (1 << order)):
            self._machine.mark(page, owner)
        yield

    def _direct(self, block: Block) -> Life:
        """mm_page_free with the mark, and at once, on the same CPU, its uncharge."""
        head, order = block
        self._anyone()
        self._event("page_free", self._machine.page(head), order)
        self._event("uncharge", self._machine.page(head), order)
        self._machine.mark(head, 0)
        self._give_back(block)
        yield

    def _uncharged_first(self, block: Block) -> Life:
        """Taken out of the account in place, and freed later: a stolen pipe page, a thread's stack."""
        head, order = block
        self._anyone(interrupt=False)
        self._event("uncharge", self._machine.page(head), order)
        self._under_way.add(begun := self._now)
        yield
        self._under_way.remove(begun)
        self._machine.mark(head, 0)
        yield
        yield from self._freed(block)

    def _put(self, block: Block) -> Life:
        head, _ = block
        self._anyone()
        self._event("put_uncharge", self._machine.page(head))
        self._machine.mark(head, 0)
        self._free_event(block)
        yield

    def _put_in_a_batch(self, block: Block) -> Life:
        self._anyone()
        self._deliver("put_uncharge_batch", lambda: self._machine.put_batch([block[0]]))
        self._machine.mark(block[0], 0)
        self._free_event(block)
        yield

    def _freed(self, block: Block) -> Life:
        self._anyone()
        self._free_event(block)
        yield

    def _free_event(self, block: Block) -> None:
        self._event("page_free", self._machine.page(block[0]), block[1])
        self._give_back(block)

    def _give_back(self, block: Block) -> None:
        head, order = block
        self._machine.poke(self._machine.page(head), 0)
        self._free.update(range(head, head + (1 << order)))
