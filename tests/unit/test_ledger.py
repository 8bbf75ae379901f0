"""From what the maps hold to cgroups: who is dead, who is gone, and what their sums become."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.cgroups.paths import CgroupPaths, Resolved
from kmemtrace.model.enums import CgroupState, MismatchClass
from kmemtrace.tracer import structs
from kmemtrace.tracer.doubtful import count_as_uncharged
from kmemtrace.tracer.ledger import Ledger, View
from kmemtrace.tracer.reading import Reading
from kmemtrace.tracer.sees import Sees
from kmemtrace.tracer.stacks import NOT_RECORDED, Stack, Stacks

SEES = Sees(kernel_total=True, reclaim=False, charge=True, losses=True, latencies=("lifetime",))
LIFE = structs.LIFE


class NoStacks(Stacks):
    """Stacks that were not recorded."""

    def __init__(self) -> None:
        """Needs no map."""

    def __getitem__(self, stack_id: int) -> Stack:
        return NOT_RECORDED


A, B = 11, 12


class TwoCgroups(CgroupPaths):
    """/a and /b live; of others only the path is known that the ledger was told."""

    def resolve(self, cgroup_id: int) -> Resolved:
        living = {A: "/a", B: "/b"}.get(cgroup_id)
        return Resolved(living or self._names.get(cgroup_id), alive=living is not None)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    hierarchy = MemoryHierarchy(2, 0, tmp_path, "/")
    with TwoCgroups(hierarchy) as paths:
        yield Ledger(hierarchy, paths, NoStacks(), SEES)


def reading(
    totals: Mapping[int, Mapping[str, int]],
    removed: Mapping[int, str] | None = None,
    charges: Mapping[int, int] | None = None,
    failures: Mapping[tuple[int, int], int] | None = None,
    sites: Mapping[tuple[int, int], int] | None = None,
) -> Reading:
    """Totals by cgroup; paths of removed ones; time of each held page by cgroup; failures; pages charged at
    call sites."""
    values = np.zeros(len(totals), structs.totals_dtype(SEES.latencies))
    for value, counts in zip(values, totals.values(), strict=True):
        for name, count in counts.items():
            value[name] = count
    lives = np.zeros(len(removed or {}), LIFE)
    for life, path in zip(lives, (removed or {}).values(), strict=True):
        life["path"] = path.encode()
    held = np.zeros(len(charges or {}), structs.CHARGE)
    for charge, (cgroup_id, time) in zip(held, (charges or {}).items(), strict=True):
        charge["cgroup"], charge["time"] = cgroup_id, time
    failed: Any = np.zeros(len(failures or {}), structs.FAILURE_KEY)
    for key, (cgroup_id, error) in zip(failed, failures or {}, strict=True):
        key["cgroup"], key["error"] = cgroup_id, error
    places, sums = np.zeros(len(sites or {}), structs.SITE_KEY), np.zeros(len(sites or {}), structs.SITE)
    for at, ((cgroup_id, stack), pages) in enumerate((sites or {}).items()):
        places[at], sums[at] = (cgroup_id, stack, 0), (pages, 0, 0)
    return Reading(
        clock=5.0,
        time=1_780_000_000.0,
        lives=(np.array(list(removed or {}), "u8"), lives),
        pages=np.arange(len(held), dtype="u8"),
        charges=held,
        sites=(places, sums),
        cgroups=(np.array(list(totals), "u8"), values),
        failures=(failed, np.array(list((failures or {}).values()), "u8")),
    )


def told(
    ledger: Ledger,
    now: Reading,
    heirs: Mapping[int, int],
    mismatches: Mapping[int, Mapping[MismatchClass, int]],
) -> View:
    """What a Snapshot is made of."""
    ledger.remember(now)
    return ledger.update(now, heirs, mismatches)


def test_a_living_cgroup(ledger: Ledger) -> None:
    now = reading({A: {"charged": 7, "uncharged": 4, "kernel": -3, "explicit": 4}}, charges={A: 10**9})
    (row,) = told(ledger, now, {}, {}).cgroups
    assert (row.path, row.state, row.held_pages) == ("/a", CgroupState.ONLINE, 3)
    assert row.oldest_at == 1.0
    assert (row.kernel_pages_change, row.explicit_pages, row.reclaim_stalls) == (-3, 4, None)


def test_a_removed_cgroup_names_its_heir_while_it_holds_pages(ledger: Ledger) -> None:
    held = {999_999: {"charged": 9, "uncharged": 2}, A: {"charged": 1}}
    (dead, live) = told(ledger, reading(held, removed={999_999: "/a/job"}), {999_999: A, A: B}, {}).cgroups
    assert (dead.path, dead.reparented_to) == ("/a/job", "/a")
    assert live.reparented_to is None
    (dead, _) = told(ledger, reading(held, removed={999_999: "/a/job"}), {}, {}).cgroups
    assert dead.reparented_to == "/a", "not each snapshot looks at each page"


def test_failures_have_the_names_of_their_errors(ledger: Ledger) -> None:
    (row,) = told(ledger, reading({A: {"failed": 9}}, failures={(A, 12): 7, (A, 4): 2}), {}, {}).cgroups
    assert row.failed_by_errno == {"ENOMEM": 7, "EINTR": 2}


def test_a_removed_cgroup_is_dead_while_it_holds_pages_and_then_gone(ledger: Ledger) -> None:
    held = {999_999: {"charged": 1009, "uncharged": 2}}
    view = told(ledger, reading(held, removed={999_999: "/job"}), {}, {})
    assert [(c.path, c.state) for c in view.cgroups] == [("/job", CgroupState.DEAD)]
    assert view.ended == []

    drained = {999_999: {"charged": 1009, "uncharged": 1009, "failed": 3}}
    view = told(ledger, reading(drained, removed={999_999: "/job"}), {}, {})
    assert [(c.path, c.state) for c in view.cgroups] == [("/job", CgroupState.GONE)]
    assert [e.cgroup for e in view.ended] == [999_999]
    assert view.gone.charged_pages == 0, "its last row still counts it"

    view = told(ledger, reading({}), {}, {})
    assert view.cgroups == ()
    assert (view.gone.cgroups, view.gone.charged_pages, view.gone.failed_charges) == (1, 1009, 3)


def test_a_removed_cgroup_that_was_never_charged_leaves_no_row(ledger: Ledger) -> None:
    view = told(ledger, reading({}, removed={999_999: "/idle"}), {}, {})
    assert view.cgroups == ()
    assert [e.cgroup for e in view.ended] == [999_999]


def test_most_held_come_first(ledger: Ledger) -> None:
    view = told(ledger, reading({A: {"charged": 5}, B: {"charged": 9}}), {}, {})
    assert [c.path for c in view.cgroups] == ["/b", "/a"]


def test_what_did_not_change_is_the_same_cgroup(ledger: Ledger) -> None:
    """However old the pages are that it holds."""
    idle = reading({A: {"charged": 7, "uncharged": 4}, B: {"charged": 5}}, charges={B: 3})
    later = dataclasses.replace(idle, clock=9.0)
    before, after = ({c.path: c for c in told(ledger, now, {}, {}).cgroups} for now in (idle, later))
    assert after["/a"] is before["/a"]
    assert after["/b"] is before["/b"]
    found = told(ledger, idle, {}, {A: {MismatchClass.LOST_UNCHARGE: 1}}).cgroups
    assert {c.path: c.mismatches for c in found}["/a"] == {"lost_uncharge": 1}


def test_only_what_changed_is_made_anew(ledger: Ledger) -> None:
    idle, busy = {"charged": 7, "uncharged": 4}, {"charged": 5}
    before = {c.path: c for c in told(ledger, reading({A: idle, B: busy}), {}, {}).cgroups}
    moved = reading({B: {"charged": 11, "uncharged": 2}, A: idle}, failures={(A, -12): 3})
    after = {c.path: c for c in told(ledger, moved, {}, {A: {MismatchClass.LOST_UNCHARGE: 1}}).cgroups}
    assert after["/b"].held_pages == 9
    assert (after["/a"].held_pages, after["/a"].mismatches) == (3, {"lost_uncharge": 1})
    assert sum((after["/a"].failed_by_errno or {}).values()) == 3
    third = {c.path: c for c in told(ledger, moved, {}, {}).cgroups}
    assert third["/b"].latency is after["/b"].latency
    assert after["/b"].latency is not before["/b"].latency


def test_what_was_lost_is_neither_held_nor_uncharged(ledger: Ledger) -> None:
    now = reading({999_999: {"charged": 20, "uncharged": 4, "lost": 16}}, removed={999_999: "/job"})
    (row,) = told(ledger, now, {}, {}).cgroups
    assert (row.uncharged_pages, row.lost_pages, row.held_pages) == (4, 16, 0)
    assert row.state is CgroupState.GONE
    assert told(ledger, reading({}), {}, {}).gone.lost_pages == 16


def test_what_is_in_doubt_counts_as_uncharged() -> None:
    """One cgroup with two call sites, of which one lost five pages, two of them certainly; and a suspect that
    is newer than what was read."""
    sites = np.zeros(2, structs.SITE_KEY), np.zeros(2, structs.SITE)
    sites[0]["cgroup"], sites[0]["stack"] = A, (1, 2)
    sites[1]["lost"], sites[1]["uncharged"] = (5, 4), (10, 10)
    totals = np.zeros(1, structs.totals_dtype(SEES.latencies))
    totals["lost"], totals["uncharged"] = 9, 20
    count_as_uncharged({(A, 1): 3, (B, 1): 7, (A, 9): 100}, sites, (np.array([A], "u8"), totals))
    assert sites[1]["lost"].tolist() == [2, 4]
    assert sites[1]["uncharged"].tolist() == [13, 10]
    assert (int(totals["lost"][0]), int(totals["uncharged"][0])) == (0, 29)


class Names(CgroupPaths):
    """Asks a dictionary in place of the kernel."""

    def __init__(self, hierarchy: MemoryHierarchy, living: dict[int, str]) -> None:
        super().__init__(hierarchy)
        self.living = living

    def _by_handle(self, cgroup_id: int) -> str | None:
        return self.living.get(cgroup_id)


class SameNames(CgroupPaths):
    """Tells what others do, and never that it is something else."""

    def __init__(self, others: CgroupPaths) -> None:
        """Needs no mount."""
        self._others = others

    def resolve(self, cgroup_id: int) -> Resolved:
        return self._others.resolve(cgroup_id)

    def news(self) -> set[int]:
        return set()

    def remember(self, cgroup_id: int, path: str) -> None:
        """The others do."""

    def forget(self, cgroup_id: int) -> None:
        """The others do."""


@dataclasses.dataclass
class Machine:
    """What the maps hold, as a few steps of hypothesis left it."""

    totals: dict[int, dict[str, int]] = dataclasses.field(default_factory=dict)
    sites: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    failures: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    charges: dict[int, int] = dataclasses.field(default_factory=dict)
    removed: dict[int, str] = dataclasses.field(default_factory=dict)
    heirs: dict[int, int] = dataclasses.field(default_factory=dict)
    mismatches: dict[int, dict[MismatchClass, int]] = dataclasses.field(default_factory=dict)
    living: dict[int, str] = dataclasses.field(default_factory=dict)

    def step(self, what: str, one: int, number: int) -> None:
        total = self.totals.setdefault(one, {"charged": 0, "uncharged": 0, "failed": 0, "lifetime": 0})
        if what == "charge":
            total["charged"] += number
            self.sites[one, number % 3] = self.sites.get((one, number % 3), 0) + number
            self.charges[one] = number * 10**9
        elif what == "uncharge":
            total["uncharged"] = total["charged"]
            self.charges.pop(one, None)
        elif what == "fail":
            total["failed"] += 1
            self.failures[one, number] = self.failures.get((one, number), 0) + 1
        elif what == "remove":
            self.removed[one] = self.living.pop(one, f"/never/{one}")
        elif what == "inherit":
            self.heirs[one] = number
        elif what == "mismatch":
            self.mismatches[one] = {MismatchClass.LOST_UNCHARGE: number}
        elif one not in self.removed:
            self.living[one] = f"/{number}/{one}"

    def reading(self) -> Reading:
        totals = {
            one: {k: n for k, n in counts.items() if k != "lifetime"} for one, counts in self.totals.items()
        }
        return reading(totals, self.removed, self.charges, self.failures, self.sites)

    def forget(self, one: int) -> None:
        """As Tables.forget() has it of what is gone."""
        for of in (self.totals, self.charges, self.removed, self.mismatches, self.heirs):
            of.pop(one, None)
        self.sites = {key: n for key, n in self.sites.items() if key[0] != one}
        self.failures = {key: n for key, n in self.failures.items() if key[0] != one}


_STEPS = st.tuples(
    st.sampled_from(["charge", "uncharge", "fail", "remove", "inherit", "mismatch", "rename"]),
    st.integers(1, 5),
    st.integers(1, 9),
)


@given(st.lists(st.tuples(st.lists(_STEPS, max_size=6), st.sampled_from([0.0, 100.0])), max_size=8))
@settings(max_examples=150, deadline=None)
def test_cgroups_are_as_if_all_were_made_anew(turns: list[tuple[list[tuple[str, int, int]], float]]) -> None:
    machine, now = Machine(), 1000.0
    hierarchy = MemoryHierarchy(2, 0, Path("/"), "/")
    with pytest.MonkeyPatch.context() as patch, Names(hierarchy, machine.living) as paths:
        patch.setattr("time.monotonic", lambda: now)
        ledger = Ledger(hierarchy, paths, NoStacks(), SEES)
        for steps, later in turns:
            now += later
            for step in steps:
                machine.step(*step)
            view = told(ledger, machine.reading(), machine.heirs, dict(machine.mismatches))
            anew = Ledger(hierarchy, SameNames(paths), NoStacks(), SEES)
            whole = anew.update(machine.reading(), machine.heirs, dict(machine.mismatches))
            assert view.cgroups == whole.cgroups
            assert sorted(e.cgroup for e in view.ended) == sorted(e.cgroup for e in whole.ended)
            again = told(ledger, machine.reading(), {}, dict(machine.mismatches)) if not view.ended else view
            assert all(one is other for one, other in zip(again.cgroups, view.cgroups, strict=True))
            for ended in view.ended:
                machine.forget(ended.cgroup)
