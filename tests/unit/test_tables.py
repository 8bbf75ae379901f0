"""A table that remembers the one before is the same as one that is made anew."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.model.ordered import exchanged
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Cgroup, Snapshot
from kmemtrace.model.tables import Tables
from kmemtrace.model.view import GroupBy, SortKey, View
from tests.sample import account, cgroup, site, snapshot


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_what_goes_and_comes_leaves_a_list_in_order(there: set[int], out: set[int], into: set[int]) -> None:
    found = exchanged(sorted(there, reverse=True), out & there, into - there, lambda number: -number)
    assert found == sorted((there - out) | (into - there), reverse=True)


_PATHS = ["/a", "/a/b", "/a/b/c", "/d", "/e"]
_CGROUPS = st.lists(
    st.tuples(
        st.sampled_from(_PATHS),
        st.booleans(),
        st.integers(0, 3),
        st.sampled_from([None, 2.0, 5.0]),
    ),
    max_size=5,
)
"""Path, whether it was removed, how much it holds, and how old the oldest page is."""
_VIEWS = st.builds(
    View,
    sort=st.sampled_from([k for k in SortKey if not k.startswith("object")]),
    reverse=st.booleans(),
    filter=st.sampled_from(["", "", "b"]),
    by=st.sampled_from([GroupBy.CGROUP, GroupBy.CGROUP, GroupBy.CGROUP, GroupBy.SITE]),
    dead_only=st.sampled_from([False, False, True]),
    tree=st.sampled_from([False, False, True]),
)
_STEPS = st.tuples(st.sampled_from(["next", "next", "again", "count", "stop counting"]), _CGROUPS, _VIEWS)


def _cgroup(path: str, dead: bool, pages: int, oldest: float | None) -> Cgroup:
    one = cgroup(
        path, (site(9 + pages, 9),), id=_PATHS.index(path) + 100 * dead + 1, dead=dead, oldest=oldest
    )
    return dataclasses.replace(one, account=account(kernel=pages, percpu=0) if pages else None)


@given(st.lists(_STEPS, min_size=1, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_table_is_as_if_nothing_was_remembered(
    steps: list[tuple[str, list[tuple[str, bool, int, float | None]], View]], keep_view: bool
) -> None:
    """Whatever Snapshots follow one another, however the view changes, and wherever counts begin."""
    tables, there = Tables(), dict[tuple[str, bool], Cgroup]()
    now: Snapshot = snapshot()
    before: Snapshot | None = None
    baseline: Snapshot | None = None
    for at, (what, changed, view) in enumerate(steps):
        if what == "next":
            there |= {one[:2]: _cgroup(*one) for one in changed}
            if not changed:
                there.clear()
            before, now = now, snapshot(*there.values(), time=1_780_000_000.0 + 2 * at)
        elif what == "count":
            baseline = now
        elif what == "stop counting":
            baseline = None
        wanted = steps[0][2] if keep_view else view
        assert list(tables.table(now, before, wanted, baseline)) == rows(now, before, wanted, baseline)


def test_a_row_is_found_by_its_key() -> None:
    now = snapshot(cgroup("/a", (site(9, 2),), id=7), cgroup("/b", (site(9, 3),), id=8))
    table = Tables().table(now, None, View())
    assert (table.keys, [row.name for row in table]) == (["0:7", "0:8"], ["/a", "/b"])
    found = table.find("0:8")
    assert found is not None
    assert (found.name, table.find("0:9")) == ("/b", None)
