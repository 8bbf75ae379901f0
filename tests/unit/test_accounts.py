"""The accounts of a census in Snapshots, tables, documents and metrics."""

import dataclasses
import threading
import time
from itertools import product
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.census.census import Censor
from kmemtrace.census.keeper import Absent, Keeper
from kmemtrace.census.memory import InterruptedReadingError
from kmemtrace.cgroups.paths import CgroupPaths, Resolved
from kmemtrace.exporter.caches import MOST_CACHES
from kmemtrace.exporter.series import OTHER, Selection
from kmemtrace.model.account import Account, CacheUse, added
from kmemtrace.model.census import Census, Counted, Joiner, row_of
from kmemtrace.model.document import account_document, document, snapshot_of
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Cgroup, CgroupKey, Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, SortKey, View
from kmemtrace.tui.columns import columns
from kmemtrace.tui.plain import frame
from tests.sample import CONTAINER, DENTRIES, FILES, NGINX, account, busy, cgroup, counted, site, snapshot
from tests.unit.test_metrics import samples, told, value


def test_cgroups_that_only_the_census_knows_have_rows_without_counts() -> None:
    now = {c.path: c for c in counted().cgroups}
    assert list(now) == [*(c.path for c in busy().cgroups), "/old.service"]
    assert (now["/old.service"].charged_pages, now["/old.service"].held_pages) == (0, 0)
    assert now["/user.slice"].account is None, "it is not in the census: it was made since"


def test_one_that_is_gone_has_no_account() -> None:
    gone = cgroup("/gone", (site(7, 7),), dead=True)
    info = counted().census
    assert info is not None
    found = Joiner().joined(snapshot(gone), info, {gone.key: account(kernel=4704)})
    assert [c.account for c in found.cgroups] == [None]


def row(number: int, of: Account) -> Cgroup:
    """Of a cgroup that only the census knows."""
    return row_of(Counted(CgroupKey(0, number), f"/{number}", CgroupState.ONLINE, of), f"/{number}", "")


def test_one_that_was_gone_since_the_census_has_no_row() -> None:
    info, of = counted().census, account(kernel=4704)
    assert info is not None
    accounts, found = {CgroupKey(0, 7): of, CgroupKey(0, 8): of}, (row(7, of), row(8, of))
    gone, joiner = cgroup("/7", (site(7, 7),), id=7, dead=True), Joiner()
    paths = [
        [c.path for c in joiner.joined(now, info, accounts, found).cgroups]
        for now in (snapshot(), snapshot(gone), snapshot())
    ]
    assert paths == [["/7", "/8"], ["/7", "/8"], ["/8"]]


_ONE = st.tuples(st.integers(1, 3), st.integers(0, 2))
"""Number of a cgroup, or of an account, and which it is of those that it was."""


@given(st.lists(st.tuples(st.sets(_ONE, max_size=3), st.sets(_ONE, max_size=3)), max_size=6))
@settings(max_examples=100, deadline=None)
def test_joined_is_as_if_nothing_was_remembered(
    turns: list[tuple[set[tuple[int, int]], set[tuple[int, int]]]],
) -> None:
    cgroups = {
        one: cgroup(f"/{one[0]}", (site(9, one[1]),), id=one[0]) for one in product((1, 2, 3), range(3))
    }
    accounts = {one: account(kernel=7 * one[1]) for one in cgroups}
    known = {one: row(one[0], accounts[one]) for one in cgroups}
    info = counted().census
    assert info is not None
    joiner = Joiner()
    for charged, found in turns:
        now = snapshot(*(cgroups[one] for one in dict(charged).items()))
        of = {CgroupKey(0, number): accounts[number, which] for number, which in dict(found).items()}
        had = [known[one] for one in dict(found).items()]
        first, second = joiner.joined(now, info, of, had), joiner.joined(now, info, of, had)
        assert first == Joiner().joined(now, info, of, had)
        assert all(one is other for one, other in zip(first.cgroups, second.cgroups, strict=True))


def test_kernel_memory_is_sorted_by_and_added_up_in_the_tree() -> None:
    by_kernel = rows(counted(), None, View(sort=SortKey.KERNEL))
    assert [row.name for row in by_kernel][:3] == [CONTAINER, "/old.service", NGINX]
    assert by_kernel[-1].kernel_bytes is None
    tree = rows(counted(), None, View(tree=True, opened=frozenset()))
    (whole,) = tree
    assert whole.kernel_bytes == 11_000_000 + 600_000 + 4_005_400
    assert whole.slab_bytes == 2 * DENTRIES.bytes + 2 * FILES.bytes
    whole_account = whole.sums.account()
    assert whole_account is not None
    assert [(use.cache, use.objects) for use in whole_account.caches] == [("dentry", 40_006), ("filp", 422)]


@pytest.mark.parametrize(
    ("width", "there"), [(80, {"KERNEL"}), (100, {"KERNEL", "SLAB"}), (200, {"KERNEL", "SLAB", "PERCPU"})]
)
def test_kernel_memory_has_a_column_on_a_narrow_screen(width: int, there: set[str]) -> None:
    headings = {one.heading for one in columns(width, GroupBy.CGROUP, "charge")}
    assert headings & {"KERNEL", "SLAB", "PERCPU"} == there
    assert headings >= {"HELD", "CHARGE/s", "TOP SITE"}
    assert "KERNEL" not in frame(busy(), None, View(), width, None), "where there is no census"
    lines = frame(counted(), None, View(), width, None).splitlines()
    (old,) = (line for line in lines if line.startswith("/old.service"))
    assert " 3.8M " in old


def test_the_document_tells_the_account() -> None:
    now = counted()
    (row,) = (c for c in document(now)["cgroups"] if c["path"] == NGINX)
    assert row["account"] == {
        "kernel_bytes": 600_000,
        "pages_bytes": 491_520,
        "page_tables_bytes": 0,
        "slab_bytes": 50_640,
        "caches": [{"cache": "filp", "objects": 211, "bytes": 50_640, "reclaimable": False}],
        "percpu_bytes": 4608,
        "zswap_bytes": 0,
        "stock_bytes": 96,
        "moved_bytes": 0,
        "doubtful_bytes": 0,
        "sock_bytes": 217_088,
        "unexplained_bytes": 600_000 - 491_520 - 50_640 - 4608 - 96,
        "age_seconds": 12.5,
    }
    assert snapshot_of(document(now)) == now


def test_what_was_not_read_is_absent() -> None:
    known = account(FILES, kernel=600_000)
    partly = dataclasses.replace(known, kernel_bytes=None, percpu_bytes=None)
    told_of = account_document(partly)
    assert not {"kernel_bytes", "percpu_bytes", "unexplained_bytes"} & told_of.keys()
    both = added([known, partly])
    assert both is not None
    assert (both.kernel_bytes, both.percpu_bytes, both.slab_bytes) == (None, None, 2 * FILES.bytes)


def test_sockets_buffers_are_in_no_sum() -> None:
    without, with_them = account(FILES, kernel=600_000), account(FILES, kernel=600_000, sock=40_960)
    assert with_them.parts == without.parts
    assert with_them.unexplained_bytes == without.unexplained_bytes
    for others, sum_ in ((with_them, 81_920), (without, None)):
        both = added([with_them, others])
        assert both is not None
        assert both.sock_bytes == sum_


def test_metrics_of_the_census() -> None:
    found = samples(told(counted()))
    assert value(found, "kernel_bytes", cgroup=CONTAINER) == 11_000_000
    assert value(found, "account_bytes", cgroup=CONTAINER, part="slab") == DENTRIES.bytes + FILES.bytes
    assert value(found, "account_bytes", cgroup="/old.service", part="stock") == 96
    assert value(found, "unexplained_bytes", cgroup="/old.service") == 4_005_400 - DENTRIES.bytes - 96
    assert value(found, "slab_bytes", cache="dentry") == 2 * DENTRIES.bytes
    assert value(found, "pinned_bytes", part="file") == 8 << 20
    assert value(found, "pinned_bytes", part="shmem") == 0, "there from the start, so that it can grow"
    assert (value(found, "dying_cgroups"), value(found, "census_seconds")) == (3, 0.25)
    assert value(found, "cgroups") == 4, "those that were charged"
    assert value(found, "dead_cgroups") == 1
    assert not {name for name, _ in samples(told(busy()))} & {
        "kmemtrace_kernel_bytes",
        "kmemtrace_account_bytes",
        "kmemtrace_slab_bytes",
        "kmemtrace_dying_cgroups",
        "kmemtrace_pinned_bytes",
        "kmemtrace_census_seconds",
    }


def test_cgroups_and_caches_with_series_are_bounded() -> None:
    now = counted()
    assert now.census is not None
    caches = tuple(CacheUse(f"cache-{number}", 1, 1000 - number, False) for number in range(211))
    many = dataclasses.replace(now, census=dataclasses.replace(now.census, caches=caches))
    found = samples(told(many, most=3))
    sizes = {dict(labels)["cache"]: size for (name, labels), size in found.items() if "slab" in name}
    assert len(sizes) == MOST_CACHES + 1
    assert sum(sizes.values()) == sum(use.bytes for use in caches)
    kernel = {dict(labels)["cgroup"]: size for (name, labels), size in found.items() if "kernel_b" in name}
    assert kernel == {
        CONTAINER: 11_000_000,
        "/batch/job-17": 0,
        "/old.service": 4_005_400,
        OTHER: 600_000,
    }


def test_one_that_only_the_census_knew_is_charged() -> None:
    """Its latencies, which the row of before has not, do not break the scrape."""
    selection = Selection(10)
    now = counted()
    selection.update(now)
    (old,) = (c for c in now.cgroups if c.path == "/old.service")
    later = cgroup("/old.service", (site(9, 2),), id=old.key.id)
    (series,) = selection.update(snapshot(later)).series
    assert (series.sums.charged_pages, series.memory) == (9, {})


class Stub:
    """In a Censor's place: gives what it was told to, each time that it is let."""

    def __init__(self, *results: Census | Exception) -> None:
        self._results = list(results)
        self.end = threading.Event()

    def take(self) -> Census:
        if not self._results:
            self.end.wait()
            raise InterruptedReadingError
        found = self._results.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def interrupt(self) -> None:
        self.end.set()


class Paths:
    """Of these the first was removed since."""

    def resolve(self, cgroup_id: int) -> Resolved:
        return Resolved(f"/{cgroup_id}", alive=cgroup_id != 1)


def keep(*results: Census | Exception, subtree: str | None = None) -> Snapshot:
    """A Snapshot of nothing, joined by a Keeper whose censuses come to these."""
    stub = Stub(*results)
    keeper = Keeper(cast("Censor", stub), cast("CgroupPaths", Paths()), subtree)
    with keeper:
        keeper.wait_for_first()
        return keeper.joined(snapshot())


def census(*numbers: int) -> Census:
    found = [
        Counted(CgroupKey(0, n), f"/{n}", CgroupState.ONLINE, account(FILES, kernel=60_000)) for n in numbers
    ]
    return Census(1.0, 0.5, 0.25, 0.125, 7, 7, 7, tuple(found), {"file": 4096}, {})


def test_a_keeper_adds_no_second_row() -> None:
    stub = Stub(census(2, 3))
    with Keeper(cast("Censor", stub), cast("CgroupPaths", Paths()), None) as keeper:
        keeper.wait_for_first()
        found = keeper.joined(snapshot(cgroup("/2", (site(9, 2),), id=2)))
    assert [(c.path, c.charged_pages, c.account is None) for c in found.cgroups] == [
        ("/2", 9, False),
        ("/3", 0, False),
    ]


def test_what_a_census_finds_again_is_the_same() -> None:
    stub = Stub(census(2, 3), dataclasses.replace(census(2, 3), seconds=0.75))
    keeper = Keeper(cast("Censor", stub), cast("CgroupPaths", Paths()), None, interval=3600)
    charged = snapshot(cgroup("/2", (site(9, 2),), id=2))
    with keeper:
        keeper.wait_for_first()
        before = after = keeper.joined(charged)
        keeper.take_now()
        deadline = time.monotonic() + 10
        while after.census is None or after.census.seconds != 0.75:
            after = keeper.joined(charged)
            assert time.monotonic() < deadline, "the second census was not taken"
    assert all(one is other for one, other in zip(before.cgroups, after.cgroups, strict=True))


def test_a_keeper_gives_what_is_still_there() -> None:
    assert [c.path for c in keep(census(1, 2, 3)).cgroups] == ["/2", "/3"]
    assert [c.path for c in keep(census(1, 2, 3), subtree="/3").cgroups] == ["/3"]


def test_where_there_is_no_census_it_is_told_why() -> None:
    failed = keep(OSError(12, "no memory"))
    assert (failed.census, "no memory" in failed.unseen[Unseen.ACCOUNT]) == (None, True)
    assert Absent("too old").joined(snapshot()).unseen[Unseen.ACCOUNT] == "too old"
    assert {"slab", "percpu", "sockets"} <= failed.unseen.keys()


def test_parts_that_a_census_lacks_are_unseen() -> None:
    found = keep(dataclasses.replace(census(2), unseen={Unseen.PERCPU: "not found"}))
    assert found.unseen[Unseen.PERCPU] == "not found"
    assert "sockets" not in found.unseen, "the census read them"
    assert not {"slab", "account"} & found.unseen.keys()


def test_a_census_is_taken_when_it_is_asked_for() -> None:
    stub = Stub(census(2), census(3))
    keeper = Keeper(cast("Censor", stub), cast("CgroupPaths", Paths()), None, interval=3600)
    with keeper:
        keeper.wait_for_first()
        assert [c.path for c in keeper.joined(snapshot()).cgroups] == ["/2"]
        keeper.take_now()
        deadline = time.monotonic() + 10
        while [c.path for c in keeper.joined(snapshot()).cgroups] != ["/3"]:
            assert time.monotonic() < deadline, "the second census was not taken"
            time.sleep(0.01)
