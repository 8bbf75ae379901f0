"""Slab objects that were followed: added up by row, and the table of slab caches."""

import dataclasses

import pytest

from kmemtrace.model.columns import columns_of
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.objects import ObjectSite, added_objects
from kmemtrace.model.rows import rows
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import GroupBy, SortKey, View
from kmemtrace.tui.object_lines import cgroup_lines, object_lines
from kmemtrace.tui.plain import frame
from tests.sample import CONTAINER, DENTRIES_MADE, FILES_OPENED, busy, counted, followed

CACHES = View(by=GroupBy.CACHE, sort=SortKey.SLAB)


def test_objects_of_one_cache_and_function_are_added_up() -> None:
    more = dataclasses.replace(DENTRIES_MADE, charged_objects=7, freed_objects=2, failed_objects=1)
    added = added_objects([FILES_OPENED, DENTRIES_MADE, more])
    assert added == (ObjectSite("dentry", "__d_alloc", 4008, 5, 1, 200), FILES_OPENED)
    assert added[0].held_bytes == 4003 * 200


def test_by_cache_adds_up_all_cgroups() -> None:
    found = {row.name: row for row in rows(followed(), None, CACHES)}
    assert list(found) == ["dentry", "filp"]
    assert found["dentry"].slab_bytes == 2 * 20_003 * 200
    assert found["filp"].objects == 2 * 211
    assert found["filp"].object_bytes == 2 * 7 * 240
    assert found["dentry"].state is CgroupState.ONLINE


def test_rates_of_objects_are_since_the_previous_snapshot() -> None:
    (first, *_) = rows(followed(3), followed(1), CACHES)
    assert first.object_charge_rate == 20 / 4
    assert first.object_free_rate == 0
    container = next(r for r in rows(followed(3), followed(1), View()) if r.name == CONTAINER)
    assert container.object_charge_rate == 20 / 4


def test_rows_know_no_objects_where_none_are_followed() -> None:
    row = rows(counted(), None, View())[0]
    assert (row.object_bytes, row.object_charge_rate, row.object_free_rate) == (None, None, None)
    assert object_lines(row, 80) == []


@pytest.mark.parametrize(("objects", "census"), [(True, True), (False, True), (True, False)])
def test_columns_of_caches(objects: bool, census: bool) -> None:
    headings = [c.heading for c in columns_of(GroupBy.CACHE, census=census, objects=objects)]
    assert ("OBJ HELD" in headings) == objects
    assert ("SLAB" in headings) == census
    assert not {"HELD", "KERNEL", "TOP SITE", "STATE"} & set(headings)


def test_a_filter_takes_caches_and_functions() -> None:
    for text, found in (("filp", ["filp"]), ("__d_alloc", ["dentry"])):
        assert [r.name for r in rows(followed(), None, dataclasses.replace(CACHES, filter=text))] == found


def test_the_lines_behind_a_row() -> None:
    container = next(r for r in rows(followed(2), followed(1), View()) if r.name == CONTAINER)
    assert object_lines(container, 80) == [
        "objects since the start: 4,025 held  786K  5/s charged  2 refused at a limit",
        "   785K  dentry < __d_alloc (4,018 held, +5/s)",
        "   1.6K  filp < alloc_empty_file (7 held, 2 refused)",
    ]


def test_the_lines_behind_a_cache() -> None:
    (dentry, filp) = rows(followed(), None, CACHES)
    lines = cgroup_lines(dentry, 60)
    assert lines[0].startswith("   3.8M  …")
    assert lines[0].endswith(".scope (20,003 objects)")
    assert lines[1] == "   3.8M  /old.service (20,003 objects)"
    assert len(lines) == 2
    assert (
        object_lines(filp, 80)[1] == "   3.3K  filp < alloc_empty_file (14 held, +307/s, -300/s, 4 refused)"
    )


def test_a_table_of_caches_without_a_census_says_why() -> None:
    why = dataclasses.replace(busy(), unseen={Unseen.ACCOUNT: "no census is taken (--census off)"})
    assert "No slab cache is known: no census is taken (--census off)." in frame(why, None, CACHES, 80, None)
