"""From Snapshots to rows: sorting, grouping, filtering, rates."""

import dataclasses
from pathlib import Path

import pytest

from kmemtrace.model.columns import COLUMNS, columns_of
from kmemtrace.model.enums import CgroupState, MismatchClass, SiteKind
from kmemtrace.model.rows import rows, selected
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, SortKey, View
from kmemtrace.tui.facts import facts
from kmemtrace.tui.summary import totals
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


def test_mismatches_are_none_where_they_are_not_judged() -> None:
    assert {row.mismatches for row in rows(busy(), None, View())} == {0}
    blind = dataclasses.replace(busy(), unseen={Unseen(one): "not judged" for one in MismatchClass})
    assert {row.mismatches for row in rows(blind, None, View())} == {None}


def test_selected_keeps_the_cgroups_of_the_view_in_its_order() -> None:
    chosen = selected(THREE, None, View(sort=SortKey.CHARGE, filter="/"))
    assert [c.path for c in chosen.cgroups] == ["/b", "/c", "/a"]
    assert selected(THREE, None, View(dead_only=True)).cgroups == (THREE.cgroups[1],)
    assert chosen.losses == THREE.losses


def test_counts_from_a_baseline_leave_what_is_held_as_it_is() -> None:
    (row,) = (r for r in rows(busy(9), busy(8), View(), baseline=busy(5)) if r.name == CONTAINER)
    assert (row.charged_pages, row.uncharged_pages, row.charge_rate) == (4000, 4000, 4000 / 8.0)
    assert (row.held_pages, row.growth_bytes) == (1511, 0)
    assert row.quantile_seconds(0.5) is None, "no page that ended since then"
    (row,) = (r for r in rows(busy(9), busy(8), View()) if r.name == CONTAINER)
    assert (row.charged_pages, row.charge_rate) == (49_311, 1000 / 2.0)


def test_growth_is_since_the_frame_before_or_the_start() -> None:
    now, before = snapshot(cgroup("/a", (site(9, 4),))), snapshot(cgroup("/a", (site(8, 1),)))
    assert [row.growth_bytes for row in rows(now, before, View())] == [-2 * 4096]
    assert [row.growth_bytes for row in rows(now, None, View())] == [5 * 4096]


def test_no_time_tells_no_rate() -> None:
    assert [row.charge_rate for row in rows(busy(3), busy(3), View(), baseline=busy(3))] == [None] * 4


@pytest.mark.parametrize("fleet", [False, True])
@pytest.mark.parametrize("by", list(GroupBy))
def test_each_sort_is_by_a_column_of_its_own_with_a_key_of_its_own(by: GroupBy, fleet: bool) -> None:
    assert {column.sort for column in COLUMNS if column.sort} == set(SortKey)
    keys = [column.key for column in COLUMNS if column.sort]
    assert len(set(keys)) == len(keys)
    assert {"P99", "OLDEST"} & {c.heading for c in columns_of(by, fleet=fleet)} == (
        {"P99", "OLDEST"} if by in (GroupBy.CGROUP, GroupBy.CONTAINER) and not fleet else set()
    )


def test_the_readme_tells_each_column_and_its_key() -> None:
    told = (Path(__file__).parents[2] / "README.md").read_text()
    for column in COLUMNS:
        assert column.heading in told
        assert not column.key or f"`{column.key}`" in told


def test_what_is_lost_is_held_in_no_row() -> None:
    """Of 20 pages 4 were uncharged and 9 lost; in a row of its own, of its kind, and of its parent."""
    losing = dataclasses.replace(site(20, 4), lost_pages=9)
    job = dataclasses.replace(cgroup("/a/job", (losing,)), lost_pages=9)
    for by in set(GroupBy) - {GroupBy.CACHE}:
        assert [row.held_pages for row in rows(snapshot(job), None, View(by=by))] == [7], by
    (closed,) = rows(snapshot(cgroup("/a", (site(1),)), job), None, View(tree=True, opened=frozenset()))
    assert closed.held_pages == 1 + 7
    assert snapshot(job).held_pages == 7
    assert "LOST 36K" in totals(snapshot(job), None, 140)
    assert "9 pages lost, on its counter for good" in facts([job])
