"""From Snapshots to rows: sorting, grouping, filtering, rates."""

import dataclasses

import pytest

from kmemtrace.model.enums import CgroupState, SiteKind
from kmemtrace.model.rows import GroupBy, SortKey, View, detail, rows, selected
from tests.sample import CONTAINER, NGINX, TABLE_STACK, busy, cgroup, site, snapshot

THREE = snapshot(
    cgroup("/a", (site(50, 20),), oldest=9.0, failed=1),
    cgroup("/b", (site(200, 190),), oldest=None, dead=True),
    cgroup("/c", (site(100, 80),), oldest=99.0, failed=7),
)


def names(**how: object) -> list[str]:
    view = dataclasses.replace(View(), **how)  # type: ignore[arg-type]
    return [row.name for row in rows(THREE, None, view)]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (SortKey.HELD, "acb"),
        (SortKey.CHARGE, "bca"),
        (SortKey.UNCHARGE, "bca"),
        (SortKey.FAIL, "cab"),
        (SortKey.OLDEST, "cab"),  # b holds no page of known age: last
        (SortKey.CGROUP, "abc"),
    ],
)
def test_sort(sort: SortKey, order: str) -> None:
    assert names(sort=sort) == [f"/{c}" for c in order]
    assert names(sort=sort, reverse=True) == [f"/{c}" for c in reversed(order)]


@pytest.mark.parametrize(
    ("text", "found"),
    [("NGINX", {NGINX}), ("pte_alloc", {CONTAINER}), ("containerd 4f2a", {CONTAINER}), ("nothing", set())],
)
def test_filter_takes_name_label_and_call_site(text: str, found: set[str]) -> None:
    assert {row.name for row in rows(busy(), None, View(filter=text))} == found


def test_dead_only() -> None:
    removed = snapshot(cgroup("/a", (site(7, 7),), dead=True), *busy().cgroups)
    assert [row.state for row in rows(removed, None, View(dead_only=True))] == [CgroupState.DEAD]


def test_a_group_is_as_alive_as_the_liveliest_in_it() -> None:
    gone, dead = cgroup("/a", (site(7, 7),), dead=True), cgroup("/b", (site(7),), dead=True)
    by = View(by=GroupBy.KIND)
    assert [row.state for row in rows(snapshot(gone), None, by)] == [CgroupState.GONE]
    assert [row.state for row in rows(snapshot(gone, dead), None, by)] == [CgroupState.DEAD]
    assert [row.state for row in rows(snapshot(gone, dead, cgroup("/c", (site(1),))), None, by)] == ["online"]


def test_rates_are_since_the_previous_snapshot() -> None:
    row = next(r for r in rows(busy(3), busy(1), View()) if r.name == CONTAINER)
    assert row.charge_rate == 2 * 1000 / 4.0, "two frames of 2 s, of which one was left out"
    assert row.fail_rate == 2 / 4.0
    first = next(r for r in rows(busy(3), None, View()) if r.name == CONTAINER)
    assert first.charge_rate == (43_000 + 311) / 8.0


def test_a_cgroup_that_is_new_counts_from_nothing() -> None:
    before = snapshot(cgroup("/a", (site(50),)))
    after = snapshot(cgroup("/a", (site(50),)), cgroup("/new", (site(10),)), time=before.time + 2)
    assert {r.name: r.charge_rate for r in rows(after, before, View())} == {"/a": 0.0, "/new": 5.0}


@pytest.mark.parametrize("by", [GroupBy.KIND, GroupBy.SITE, GroupBy.CONTAINER])
def test_groups_add_up_to_the_whole(by: GroupBy) -> None:
    now = busy(1)
    table = rows(now, None, View(by=by))
    assert sum(row.held_pages for row in table) == sum(c.held_pages for c in now.cgroups)


def test_by_kind_adds_up_across_cgroups() -> None:
    now = snapshot(
        cgroup("/a", (site(7), site(5, 0, SiteKind.PAGE_TABLE, "pte_alloc_one", TABLE_STACK))),
        cgroup("/b", (site(11),)),
    )
    held = {row.name: row.held_pages for row in rows(now, None, View(by=GroupBy.KIND))}
    assert held == {"pipe": 18, "page_table": 5}


def test_tree_puts_children_under_the_nearest_ancestor_with_a_row() -> None:
    paths = ("/a/b/c/d", "/a", "/x/y", "/a/b/c/d/e")
    now = snapshot(*(cgroup(path, (site(9 - i),)) for i, path in enumerate(paths)))
    table = rows(now, None, View(tree=True))
    assert [(row.name, row.depth) for row in table] == [
        ("/a", 0),
        ("/a/b/c/d", 1),
        ("/a/b/c/d/e", 2),
        ("/x/y", 0),
    ]


def test_mismatches_are_none_where_they_are_not_judged() -> None:
    assert {row.mismatches for row in rows(busy(), None, View())} == {0}
    blind = dataclasses.replace(busy(), unseen={"mismatches": "no class is judged"})
    assert {row.mismatches for row in rows(blind, None, View())} == {None}


def test_detail() -> None:
    key = next(r.key for r in rows(busy(), None, View()) if r.name == CONTAINER)
    found = detail(busy(), GroupBy.CGROUP, key)
    assert found is not None
    assert [(s.symbol, s.held_pages) for _, s in found.sites] == [
        ("anon_pipe_write", 1200),
        ("pte_alloc_one", 311),
    ]
    assert detail(busy(), GroupBy.CGROUP, "0:999999") is None


def test_selected_keeps_the_cgroups_of_the_view_in_its_order() -> None:
    chosen = selected(THREE, None, View(sort=SortKey.CHARGE, filter="/"))
    assert [c.path for c in chosen.cgroups] == ["/b", "/c", "/a"]
    assert selected(THREE, None, View(dead_only=True)).cgroups == (THREE.cgroups[1],)
    assert chosen.losses == THREE.losses
