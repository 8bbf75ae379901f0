"""The verdict rules under random interleavings of a correct kernel's events: nothing is ever certain."""

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.verdicts import Sight, missed_events, was_just_found
from tests.rules.kernel import Drops, ModelKernel
from tests.rules.machine import Machine, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")

MANY = settings(max_examples=300, suppress_health_check=list(HealthCheck))


# Records in a hash map; in a table that has room for all; in one that has room for few.
BUCKETS = (0, 64, 2)


def ran(
    seed: int,
    drop: float,
    steps: int = 400,
    *,
    drops: Drops = Drops.COUNTED,
    functions: bool = True,
    subtree: bool = False,
) -> ModelKernel:
    machine = Machine(BUCKETS[seed % len(BUCKETS)], functions=functions, subtree=subtree)
    kernel = ModelKernel(machine, random.Random(seed), drop, drops)
    kernel.run(steps)
    return kernel


def judged(kernel: ModelKernel, *, uncounted_in_interrupts: bool = False) -> list[tuple[Records, int]]:
    """What was found, but for what is known to be legal, with the missed events that could explain it."""
    sight = Sight(uncounted_in_interrupts, kernel.searched_from, kernel.confirmed_at)
    return [(f, missed_events(f, kernel.missed, sight)) for f in kernel.found if not was_just_found(f, sight)]


@MANY
@given(seed=st.integers(0, 1 << 32), functions=st.booleans())
def test_without_a_missed_event_nothing_is_found(seed: int, functions: bool) -> None:
    assert judged(ran(seed, 0.0, functions=functions)) == []


@MANY
@example(
    seed=1830, drop=0.03, functions=True
)  # the exit of a charge is taken for that of an earlier one, of another order
@given(
    seed=st.integers(0, 1 << 32),
    drop=st.sampled_from([0.003, 0.03, 0.3]),
    functions=st.sampled_from([True, True, False]),
)
def test_what_missed_events_bring_about_is_never_certain(seed: int, drop: float, functions: bool) -> None:
    assert all(missed for _finding, missed in judged(ran(seed, drop, functions=functions)))


@MANY
# A stale record inside a larger block that was charged later, and split: of two pages, and of one.
@example(seed=47900, drop=0.3)
@example(seed=552, drop=0.3)
# What ends a stale record takes the bit of a page that was charged since.
@example(seed=2643386175, drop=0.3)
@given(seed=st.integers(0, 1 << 32), drop=st.sampled_from([0.03, 0.3]))
def test_nor_is_it_where_nobody_counts_them(seed: int, drop: float) -> None:
    """Kprobes before 6.7 are skipped in interrupts only, uncounted."""
    kernel = ran(seed, drop, drops=Drops.OF_INTERRUPTS)
    assert all(missed for _finding, missed in judged(kernel, uncounted_in_interrupts=True))


@MANY
@given(seed=st.integers(0, 1 << 32), drop=st.sampled_from([0.03, 0.3]), subtree=st.booleans())
def test_nor_do_frees_that_are_not_traced_bring_one_about(seed: int, drop: float, subtree: bool) -> None:
    """By tracepoints alone, on a kernel that has none in an idle task."""
    kernel = ran(seed, drop, drops=Drops.OF_FREES, functions=False, subtree=subtree)
    assert all(missed for _finding, missed in judged(kernel))


def test_missed_events_do_bring_findings_about() -> None:
    """Else the tests above could not fail."""
    found = [len(ran(seed, 0.1).found) for seed in range(20)]
    assert sum(found) > 20


def test_pages_that_were_being_uncharged_when_they_were_found_do_so_too() -> None:
    """Else it were for nothing that they are left out."""
    found = 0
    for seed in range(300):
        kernel = ran(seed, 0.0)
        sight = Sight(uncounted_in_interrupts=False, searched_from=None, confirmed_at=None)
        found += sum(was_just_found(f, sight) for f in kernel.found)
    assert found
