"""The tree of cgroups: every ancestor, sums of what is closed, and what is open at first."""

import dataclasses
import time
from typing import Any

import pytest

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.row import Fold, Row
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.tree import opened_to_fit
from kmemtrace.model.view import Place, SortKey, View
from tests.sample import cgroup, site, snapshot

ROOT = Place(None, "/")
FAMILY = snapshot(
    cgroup("/u/web.slice/php/pool-a", (site(50, 10),), oldest=9.0),
    cgroup("/u/web.slice/php/pool-b", (site(7),), oldest=30.0),
    cgroup("/u/web.slice", (site(3),)),
    cgroup("/z", (site(20),), dead=True),
)


def tree(now: Snapshot, before: Snapshot | None = None, **how: Any) -> list[Row]:
    return rows(now, before, View(tree=True, **how))


def drawn(table: list[Row]) -> list[tuple[int, str, int]]:
    return [(row.depth, row.name, row.held_pages) for row in table]


def test_every_ancestor_is_there_and_an_open_one_shows_its_own() -> None:
    table = tree(FAMILY)
    assert drawn(table) == [
        (0, "/", 0),
        (1, "/u", 0),
        (2, "/u/web.slice", 3),
        (3, "/u/web.slice/php", 0),
        (4, "/u/web.slice/php/pool-a", 40),
        (4, "/u/web.slice/php/pool-b", 7),
        (1, "/z", 20),
    ]
    assert [row.state for row in table] == [None, None, "online", None, "online", "online", "dead"]


def test_a_closed_parent_shows_the_sum_of_its_subtree() -> None:
    before = dataclasses.replace(FAMILY, watched_seconds=0.0, cgroups=FAMILY.cgroups[:1])
    root, u, z = tree(FAMILY, before, opened=frozenset({ROOT}))
    assert (root.fold, u.fold, z.fold) == (Fold.OPEN, Fold.CLOSED, Fold.LEAF)
    assert (u.held_pages, u.charged_pages, u.oldest_seconds, u.hidden) == (50, 60, 30.0, 4)
    assert u.charge_rate == 10 / 2.0, "of what is charged since then, wherever below"
    assert u.latency()["lifetime"].count == 300
    assert u.top_site == ("pipe", "anon_pipe_write")
    (closed,) = tree(FAMILY, opened=frozenset())
    assert closed.held_pages == 70
    assert closed.dead_cgroups == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_siblings_are_sorted_by_the_sums_of_their_subtrees(reverse: bool) -> None:
    """Whether open or not: a row that jumped away when it is opened would be lost from sight."""
    for opened in (None, frozenset({ROOT})):
        table = tree(FAMILY, opened=opened, reverse=reverse)
        assert [r.name for r in table if r.depth == 1] == (["/z", "/u"] if reverse else ["/u", "/z"])
    by_name = [row.name for row in tree(FAMILY, sort=SortKey.CGROUP)]
    assert by_name == sorted(by_name)


@pytest.mark.parametrize("how", [{"filter": "pool-b"}, {"dead_only": True}])
def test_what_is_found_has_its_ancestors_as_context(how: dict[str, Any]) -> None:
    dying = dataclasses.replace(FAMILY.cgroups[1], state=CgroupState.DEAD)
    now = dataclasses.replace(FAMILY, cgroups=(FAMILY.cgroups[0], dying, FAMILY.cgroups[2]))
    table = tree(now, opened=frozenset(), **how)
    names = ["/", "/u", "/u/web.slice", "/u/web.slice/php", "/u/web.slice/php/pool-b"]
    assert [row.name for row in table] == names
    assert [row.is_context for row in table] == [True, True, True, True, False]
    assert table[2].held_pages == 3
    web = Place(None, "/u/web.slice")
    closed = tree(now, closed=frozenset({web}), **how)
    assert drawn(closed)[-1] == (2, "/u/web.slice", 7), "of what was found, not of all"


def test_a_tree_for_each_host() -> None:
    hosts = [
        dataclasses.replace(cgroup(path, (site(n),), id=n), host=host)
        for host, path, n in (("a", "/x/y", 1), ("b", "/x/y", 5), ("b", "(other)", 3))
    ]
    table = tree(snapshot(*hosts))
    assert [(row.host, row.depth, row.name) for row in table] == [
        ("b", 0, "/"),
        ("b", 1, "/x"),
        ("b", 2, "/x/y"),
        ("b", 1, "(other)"),
        ("a", 0, "/"),
        ("a", 1, "/x"),
        ("a", 2, "/x/y"),
    ]
    assert [row.held_pages for row in tree(snapshot(*hosts), opened=frozenset())] == [8, 1]


def test_a_removed_cgroup_beside_one_of_the_same_name() -> None:
    now = snapshot(
        cgroup("/job", (site(9),), id=1, dead=True),
        cgroup("/job", (site(2),), id=2),
        cgroup("/job/part", (site(1),), id=3),
    )
    assert [(r.depth, r.name, r.state, r.held_pages) for r in tree(now)] == [
        (0, "/", None, 0),
        (1, "/job", CgroupState.DEAD, 9),
        (1, "/job", CgroupState.ONLINE, 2),
        (2, "/job/part", CgroupState.ONLINE, 1),
    ]
    assert sum(row.held_pages for row in tree(now)) == now.held_pages


def test_cgroups_nested_deeper_than_calls_may_be() -> None:
    deep = snapshot(cgroup("/a" * 2000, (site(5),)))
    assert len(tree(deep)) == 2001
    (root,) = tree(deep, opened=frozenset())
    assert (root.held_pages, root.hidden, root.top_site[1]) == (5, 2000, "anon_pipe_write")


def test_as_much_is_open_at_first_as_there_is_room_for() -> None:
    wide = [cgroup(f"/wide/{i:03}", (site(9),)) for i in range(100)]
    now = snapshot(*wide, *(cgroup(f"/small/{i}", (site(1),)) for i in range(3)))
    opened = opened_to_fit(tree(now), 20)
    assert {place.path for place in opened} == {"/", "/small"}
    assert len(tree(now, opened=opened)) == 6
    assert {p.path for p in opened_to_fit(tree(now), 200)} == {"/", "/small", "/wide"}
    assert {p.path for p in opened_to_fit(tree(now), 1)} == {"/"}


def crowd(step: int) -> Snapshot:
    """10,000 cgroups, four to a pod."""
    paths = [f"/kubepods.slice/q{i % 3}.slice/pod{i // 4}.slice/{i}.scope" for i in range(10_000)]
    made = (cgroup(path, (site(100 + i % 7 * step, i % 50),), id=i + 1) for i, path in enumerate(paths))
    return snapshot(*made, time=1_780_000_000.0 + step)


def test_ten_thousand_cgroups_in_a_tree_take_a_few_times_as_long_as_in_a_table() -> None:
    before, now = crowd(0), crowd(1)

    def seconds(view: View) -> float:
        took = []
        for _ in range(3):
            begin = time.process_time()
            rows(now, before, view)
            took.append(time.process_time() - begin)
        return min(took)

    assert seconds(View(tree=True, opened=frozenset({ROOT}))) < 10 * seconds(View())
