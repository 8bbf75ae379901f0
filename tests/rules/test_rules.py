"""Each rule of the verdicts and each exemption, one at a time."""

from collections.abc import Callable

import pytest

from kmemtrace.model.enums import Exemption, Loss
from kmemtrace.tracer.evidence import events
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.verdicts import Sight, class_of, missed_events
from tests.rules.machine import GFP_ACCOUNT, PROGRAMS, SUBTREE, Machine, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")

A, B = SUBTREE, 8
HEAD = 1 << 6
PF_EXITING, PF_KTHREAD = 0x4, 0x200000


class Bench(Machine):
    """Two cgroups, a task in the first, and a tracer that knows what was charged before."""

    def __init__(self, buckets: int = 0, *, functions: bool = True, subtree: bool = False) -> None:
        super().__init__(buckets, functions=functions, subtree=subtree)
        self.a, self.b = self.memcg(A), self.memcg(B)
        self.objcg_a, self.objcg_b = self.objcg(self.a), self.objcg(self.b)
        self.enter(self.a, self.objcg_a)
        self.set_time(1000)
        self.adopt()

    def charge(self, number: int, order: int = 0, gfp: int = GFP_ACCOUNT, objcg: int | None = None) -> None:
        self.event("charge_entry", self.page(number), gfp, order)
        self.mark(number, self.objcg_a if objcg is None else objcg)
        self.event("charge_exit", self.page(number), gfp, order, 0)
        self.event("page_alloc", self.page(number), order, gfp, 0)

    def event(self, program: str, *arguments: int) -> None:
        """Of a program that is there: by tracepoints alone there are few."""
        if program not in PROGRAMS or program in self.programs:
            super().event(program, *arguments)

    def free(self, number: int, order: int = 0) -> None:
        """By mm_page_free and, where it is marked, the uncharge that follows."""
        self.event("page_free", self.page(number), order)
        if self.is_marked(number):
            self.event("uncharge", self.page(number), order)
            self.mark(number, 0)

    def put(self, number: int) -> None:
        self.event("put_uncharge", self.page(number))
        self.mark(number, 0)

    def split(self, number: int, order: int) -> None:
        self.event("split", self.page(number), order)
        owner = self.owner(number)
        for tail in range(number, number + (1 << order)):
            self.mark(tail, owner)

    def leave_open_in_a_block(self) -> None:
        """The end of page 9's charge, to A, is not seen; it is a part of one to B then, which is split."""
        self.charge(9)
        self.mark(9, 0)
        self.charge(8, 1, objcg=self.objcg_b)
        self.split(8, 1)


BUCKETS = {"map": 0, "table": 64, "full-table": 1}
with_buckets = pytest.mark.parametrize("buckets", list(BUCKETS.values()), ids=list(BUCKETS))
in_both_ways = pytest.mark.parametrize("functions", [True, False], ids=["functions", "tracepoints"])


@pytest.fixture(params=list(BUCKETS.values()), ids=list(BUCKETS))
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


@pytest.fixture
def bench_with_map() -> Bench:
    """Where all records are in the hash map, which can be locked, or full."""
    return Bench()


def classes(bench: Bench) -> list[tuple[str, int, int]]:
    """(class, cgroup charged, cgroup uncharged) of what was found."""
    return [(class_of(f), int(f["charged_to"]), int(f["uncharged_from"])) for f in bench.findings()]


def freed_without_its_mark(bench: Bench) -> None:
    bench.charge(3)
    bench.mark(3, 0)
    bench.free(3)


def charged_again_without_an_uncharge(bench: Bench) -> None:
    bench.charge(3)
    bench.event("page_free", bench.page(3), 0)
    bench.charge(3)


def owner_changed_before_a_free(bench: Bench) -> None:
    bench.charge(3)
    bench.mark(3, bench.objcg_b)
    bench.free(3)


def owner_changed_before_a_put(bench: Bench) -> None:
    bench.charge(3)
    bench.mark(3, bench.objcg_b)
    bench.put(3)
    bench.free(3)


def owner_changed_before_a_batch(bench: Bench) -> None:
    bench.charge(3)
    bench.mark(3, bench.objcg_b)
    bench.put_batch([2, 3])
    bench.mark(3, 0)
    bench.free(3)


def uncharged_though_never_charged(bench: Bench) -> None:
    bench.event("page_alloc", bench.page(3), 0, 0, 0)
    bench.mark(3, bench.objcg_b)
    bench.free(3)


def put_though_never_charged(bench: Bench) -> None:
    bench.mark(3, bench.objcg_b)
    bench.put(3)
    bench.free(3)


def a_block_is_freed_in_parts(bench: Bench) -> None:
    bench.charge(8, 3)
    bench.free(12, 2)
    bench.free(10, 1)
    bench.free(9)
    bench.put(8)
    bench.free(8)


def one_page_of_a_block_is_uncharged(bench: Bench) -> None:
    bench.charge(8, 3)
    bench.put(8)
    bench.free(8, 3)


def more_is_uncharged_than_was_charged(bench: Bench) -> None:
    bench.charge(8)
    bench.free(8, 3)


def not_charged(bench: Bench) -> None:
    bench.event("page_alloc", bench.page(3), 0, GFP_ACCOUNT, 0)


LOST, STRAY, SIZE, WRONG = ("lost_uncharge", "stray_uncharge", "size_mismatch", "wrong_cgroup")


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (freed_without_its_mark, (LOST, A, 0)),
        (charged_again_without_an_uncharge, (LOST, A, A)),
        (owner_changed_before_a_free, (WRONG, A, B)),
        (owner_changed_before_a_put, (WRONG, A, B)),
        (owner_changed_before_a_batch, (WRONG, A, B)),
        (uncharged_though_never_charged, (STRAY, 0, B)),
        (put_though_never_charged, (STRAY, 0, B)),
        (a_block_is_freed_in_parts, (SIZE, A, 0)),
        (one_page_of_a_block_is_uncharged, (SIZE, A, A)),
        (more_is_uncharged_than_was_charged, (SIZE, A, A)),
        (not_charged, ("uncharged_alloc", A, 0)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_promise_is_found_once(
    bench: Bench, broken: Callable[[Bench], None], found: tuple[str, int, int]
) -> None:
    broken(bench)
    assert classes(bench) == [found]


def charged_again_and_then_freed(bench: Bench) -> None:
    charged_again_without_an_uncharge(bench)
    bench.free(3)


def charged_anew_in_part(bench: Bench) -> None:
    """A block was freed with its mark and not uncharged; then one of its pages is handed out again."""
    bench.charge(8, 3)
    bench.event("page_free", bench.page(8), 3)
    bench.mark(8, 0)
    bench.charge(10)
    bench.free(10)


def split_without_being_seen(bench: Bench) -> None:
    """All pages bear the mark, and end one by one, the last first: each is uncharged."""
    bench.charge(8, 2)
    for number in range(8, 12):
        bench.mark(number, bench.objcg_a)
    for number in range(11, 7, -1):
        bench.free(number)


def one_of_two_changed_owners(bench: Bench) -> None:
    bench.charge(2)
    owner_changed_before_a_batch(bench)
    bench.mark(2, 0)
    bench.free(2)


@pytest.mark.parametrize(
    ("broken", "extents", "lost", "taken", "uncharged"),
    [
        (freed_without_its_mark, ((3, 1), (3, 1)), 1, 0, 0),
        (charged_again_and_then_freed, ((3, 1), (3, 1)), 1, 0, 1),
        (owner_changed_before_a_free, ((3, 1), (3, 1)), 1, 1, 0),
        (owner_changed_before_a_put, ((3, 1), (3, 1)), 1, 1, 0),
        (one_of_two_changed_owners, ((3, 1), (3, 1)), 1, 1, 1),
        (a_block_is_freed_in_parts, ((8, 8), (12, 4)), 7, 0, 1),
        (one_page_of_a_block_is_uncharged, ((8, 8), (8, 1)), 7, 0, 1),
        (charged_anew_in_part, ((8, 8), (10, 1)), 8, 0, 1),
        (split_without_being_seen, ((8, 4), (11, 1)), 0, 0, 4),
        (more_is_uncharged_than_was_charged, ((8, 1), (8, 8)), 0, 7, 1),
        (uncharged_though_never_charged, ((3, 1), (3, 1)), 0, 1, 0),
        (not_charged, ((3, 1), (3, 1)), 0, 0, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_broken_promise_costs(
    bench: Bench,
    broken: Callable[[Bench], None],
    extents: tuple[tuple[int, int], tuple[int, int]],
    lost: int,
    taken: int,
    uncharged: int,
) -> None:
    """`extents`: first page and number of those charged, and of those that the event ended; all that are
    not uncharged at last stay on the counter."""
    bench.charge(40)
    bench.free(40)  # so that the cgroup has sums
    broken(bench)
    (found,) = bench.findings()
    charged, ended = extents
    told = {name: int(found[name]) for name in ("head", "order", "page", "end_order", "lost", "taken")}
    assert (told["head"], 1 << told["order"]) == (bench.page(charged[0]), charged[1])
    assert (told["page"], 1 << told["end_order"]) == (bench.page(ended[0]), ended[1])
    assert (told["lost"], told["taken"]) == (lost, taken)
    assert (bench.held, bench.never_uncharged(A), bench.uncharged(A) - 1) == (0, lost, uncharged)


def test_a_block_that_was_freed_in_parts_is_followed_when_it_is_charged_again(bench: Bench) -> None:
    for _ in range(3):
        a_block_is_freed_in_parts(bench)
    assert [int(found["lost"]) for found in bench.findings()] == [7, 7, 7]
    assert (bench.held, bench.never_uncharged(A), bench.uncharged(A)) == (0, 21, 3)


def in_the_root_cgroup(bench: Bench) -> None:
    bench.enter(bench.root, 0)
    not_charged(bench)


def by_a_kernel_thread(bench: Bench) -> None:
    bench.set_flags(PF_KTHREAD)
    not_charged(bench)


def in_an_interrupt(bench: Bench) -> None:
    bench.set_interrupt(True)
    not_charged(bench)


def by_an_ending_task(bench: Bench) -> None:
    bench.set_flags(PF_EXITING)
    not_charged(bench)


def in_a_cgroup_that_is_being_removed(bench: Bench) -> None:
    bench.poke(bench.a + 8, 2 | 16)
    not_charged(bench)


def between_two_cgroups(bench: Bench) -> None:
    bench.enter(bench.a, bench.objcg_a | 1)
    not_charged(bench)


def remote_and_of_the_root(bench: Bench) -> None:
    bench.set_active(bench.root)
    not_charged(bench)


def for_another_cgroup(bench: Bench) -> None:
    bench.set_active(bench.b)
    bench.charge(3)
    bench.set_active(0)
    bench.free(3)


def after_its_cgroup_was_removed(bench: Bench) -> None:
    bench.charge(3)
    bench.poke(bench.objcg_a, bench.root)
    bench.free(3)


def before_the_start_without_room(bench: Bench) -> None:
    for number in range(41):
        bench.mark(number, bench.objcg_a)
    bench.adopt()
    assert (bench.held, bench.refused) == (40, 1)
    for number in range(41):
        bench.free(number)


def in_parts_after_a_split(bench: Bench) -> None:
    bench.charge(8, 1)
    bench.split(8, 1)
    bench.free(9)
    bench.put(8)
    bench.free(8)


def in_flight_at_the_start(bench: Bench) -> None:
    """Its charge was entered before the programs were attached."""
    bench.mark(3, bench.objcg_a)
    bench.event("charge_exit", bench.page(3), 0, 0, 0)
    bench.free(3)


@pytest.mark.parametrize(
    ("legal", "why"),
    [
        (in_the_root_cgroup, Exemption.ROOT),
        (by_a_kernel_thread, Exemption.KERNEL_THREAD),
        (in_an_interrupt, Exemption.INTERRUPT),
        (by_an_ending_task, Exemption.EXITED_TASK),
        (in_a_cgroup_that_is_being_removed, Exemption.OFFLINE),
        (between_two_cgroups, Exemption.MOVED),
        (remote_and_of_the_root, Exemption.REMOTE),
        (for_another_cgroup, Exemption.REMOTE),
        (after_its_cgroup_was_removed, Exemption.REPARENTED),
        (before_the_start_without_room, Exemption.PREEXISTING),
        (in_parts_after_a_split, Exemption.SPLIT),
        (in_flight_at_the_start, Exemption.UNFOLLOWED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_look_alike_is_counted_and_not_found(
    bench: Bench, legal: Callable[[Bench], None], why: Exemption
) -> None:
    legal(bench)
    assert classes(bench) == []
    assert bench.exempted(why) > 0
    assert bench.held == 0


def test_before_the_scan_is_through_nothing_is_stray() -> None:
    machine = Machine()
    memcg = machine.memcg(A)
    machine.mark(3, machine.objcg(memcg))
    machine.event("uncharge", machine.page(3), 0)
    assert machine.findings() == []
    assert machine.exempted(Exemption.UNSEARCHED) == 1
    assert machine.exempted(Exemption.PREEXISTING) == 0


@pytest.mark.parametrize("tries", [1, 2])
def test_an_end_that_the_locked_map_refused_is_counted_and_not_found(
    bench_with_map: Bench, tries: int
) -> None:
    """At its put, or at its free as well; then another's page, unaccounted, is freed from the same place."""
    bench = bench_with_map
    bench.charge(3)
    bench.set_busy(True)
    bench.event("put_uncharge", bench.page(3))
    bench.mark(3, 0)
    if tries == 2:
        bench.free(3)
    bench.set_busy(False)
    bench.free(3)
    assert classes(bench) == []
    assert bench.lost(Loss.PAGES_BUSY) == tries
    assert (bench.held, bench.uncharged(A)) == (0, 1)


def test_parts_of_a_block_that_find_no_room_count_as_ended(bench_with_map: Bench) -> None:
    """Of eight pages one is freed: there is room for the record of one of the three parts left."""
    bench = bench_with_map
    bench.charge(8, 3)
    bench.split(8, 3)
    bench.set_room(1)
    bench.free(8)
    assert bench.lost(Loss.PAGES_FULL) == 2
    assert (bench.held, bench.uncharged(A)) == (1, 1 + 2 + 4)


def test_a_compound_block_is_put_whole(bench: Bench) -> None:
    bench.charge(8, 3)
    bench.poke(bench.page(8), HEAD)
    bench.put(8)
    bench.free(8, 3)
    assert classes(bench) == []
    assert bench.held == 0


def test_pages_from_before_the_start_have_records(bench: Bench) -> None:
    """Whole compound blocks; of others the first page, which any end is the whole of."""
    bench.mark(3, bench.objcg_a)
    bench.mark(8, bench.objcg_b)
    bench.make_compound(8, 2)
    bench.mark(16, bench.objcg_a)
    bench.adopt()
    assert (bench.held, bench.before(A), bench.before(B)) == (3, 2, 4)
    bench.free(3)
    bench.put(8)
    bench.free(8, 2)
    bench.free(16, 3)
    assert classes(bench) == []
    assert (bench.held, bench.uncharged(A), bench.uncharged(B)) == (0, 2, 4)
    assert bench.exempted(Exemption.PREEXISTING) == 0
    assert bench.lost(Loss.UNMATCHED_FREE) == 0


def test_they_are_judged_as_others(bench: Bench) -> None:
    bench.mark(3, bench.objcg_a)
    bench.mark(4, bench.objcg_a)
    bench.mark(8, bench.objcg_a)
    bench.make_compound(8, 2)
    bench.adopt()
    bench.mark(3, bench.objcg_b)
    bench.free(3)
    bench.mark(4, 0)
    bench.free(4)
    bench.event("page_free", bench.page(9), 0)
    assert classes(bench) == [("wrong_cgroup", A, B), ("lost_uncharge", A, 0), ("size_mismatch", A, 0)]


def test_a_block_from_before_that_is_split_may_end_in_parts(bench: Bench) -> None:
    bench.mark(8, bench.objcg_a)
    bench.adopt()
    bench.split(8, 2)
    for number in (11, 8, 10, 9):
        bench.free(number)
    assert classes(bench) == []
    assert bench.exempted(Exemption.UNFOLLOWED) == 3


def test_one_that_is_freed_while_it_is_looked_at_leaves_nothing(bench: Bench) -> None:
    bench.mark(3, bench.objcg_a)
    (found,) = bench.look_for_charged()
    bench.mark(3, 0)
    bench.event("adopt", bench.page(found))
    assert (bench.held, bench.before(A)) == (0, 0)
    bench.charge(3)
    bench.event("adopt", bench.page(3))
    assert (bench.held, bench.before(A)) == (1, 0)
    bench.free(3)
    assert (classes(bench), bench.uncharged(A)) == ([], 1)


@in_both_ways
@with_buckets
def test_a_page_whose_end_was_not_seen_is_known_when_it_is_charged_anew(
    buckets: int, functions: bool
) -> None:
    """Though it was a part of a larger block meanwhile, whose end took the bits of all its pages."""
    bench = Bench(buckets, functions=functions)
    bench.charge(9)
    bench.mark(9, 0)
    bench.charge(8, 2)
    bench.free(8, 2)
    bench.charge(9, objcg=bench.objcg_b)
    assert (bench.held, bench.uncharged(A), bench.lost(Loss.HEALED)) == (1, 5, 1)
    bench.free(9)
    assert classes(bench) == []
    assert (bench.held, bench.uncharged(A), bench.uncharged(B)) == (0, 5, 1)


@in_both_ways
@with_buckets
def test_it_is_known_too_when_that_block_is_freed_in_parts(buckets: int, functions: bool) -> None:
    bench = Bench(buckets, functions=functions)
    bench.leave_open_in_a_block()
    bench.free(8)
    assert (bench.held, bench.uncharged(A), bench.uncharged(B)) == (1, 1, 1)
    bench.free(9)
    assert classes(bench) == []
    assert (bench.held, bench.uncharged(A), bench.uncharged(B)) == (0, 1, 2)


@in_both_ways
@with_buckets
def test_nor_is_it_taken_for_that_of_a_block_that_is_not_followed(buckets: int, functions: bool) -> None:
    bench = Bench(buckets, functions=functions, subtree=True)
    bench.leave_open_in_a_block()
    bench.free(9)
    bench.free(8)
    assert classes(bench) == []


@in_both_ways
def test_nor_for_that_of_one_that_had_no_room(functions: bool) -> None:
    bench = Bench(functions=functions)
    bench.set_room(1)
    bench.leave_open_in_a_block()
    bench.free(9)
    bench.free(8)
    assert classes(bench) == []


def test_one_that_another_record_covers_is_never_certain() -> None:
    """A stale one inside a later block, of which that page is freed first."""
    bench = Bench(64, functions=False)
    bench.leave_open_in_a_block()
    bench.free(9)
    (found,) = bench.findings()
    assert missed_events(found, Missed(), Sight(False, 0.0, 0.0)) == 1
    assert any("another record covers it" in event for event in events(found))
