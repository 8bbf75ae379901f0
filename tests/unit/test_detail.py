"""What is behind a row: functions, their stacks, and what they hold of it."""

from kmemtrace.model.detail import functions
from kmemtrace.model.enums import SiteKind
from kmemtrace.model.row import Row
from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import GroupBy, View
from tests.sample import CONTAINER, PIPE_STACK, TABLE_STACK, busy, cgroup, site, snapshot

FAULT, FORK = (*TABLE_STACK, "exc_page_fault+0x7"), (*TABLE_STACK[:2], "copy_page_range+0x31")


def table(held: int, stack: tuple[str, ...]) -> object:
    return site(held + 5, 5, SiteKind.PAGE_TABLE, "pte_alloc_one", stack)


def one(now: Snapshot, **how: object) -> Row:
    (row,) = rows(now, None, View(**how))  # type: ignore[arg-type]
    return row


def test_a_function_is_one_line_with_its_stacks_below() -> None:
    job = cgroup("/job", (table(30, FAULT), site(7), table(12, FORK)))  # type: ignore[arg-type]
    tables, pipes = functions(one(snapshot(job)))
    assert (tables.kind, tables.symbol, tables.held_pages, tables.charged_pages) == (
        "page_table",
        "pte_alloc_one",
        42,
        52,
    )
    assert [(s.stack, s.held_pages, s.charged_pages) for s in tables.stacks] == [
        (FAULT, 30, 35),
        (FORK, 12, 17),
    ]
    assert (pipes.symbol, [s.stack for s in pipes.stacks]) == ("anon_pipe_write", [PIPE_STACK])


def test_a_stack_of_many_cgroups_is_one_below_a_closed_parent() -> None:
    now = snapshot(cgroup("/a/x", (site(5),)), cgroup("/a/y", (site(9),)))
    (pipes,) = functions(one(now, tree=True, opened=frozenset()))
    (stack,) = pipes.stacks
    assert (stack.held_pages, stack.cgroups) == (14, (("/a/y", 9), ("/a/x", 5)))


def test_where_a_row_is_of_call_sites_a_stack_is_told_by_cgroup() -> None:
    now = snapshot(cgroup("/a", (site(5),)), cgroup("/b", (site(9),)))
    (pipes,) = functions(one(now, by=GroupBy.KIND))
    assert [stack.cgroups for stack in pipes.stacks] == [(("/b", 9),), (("/a", 5),)]


def test_what_was_charged_is_since_the_baseline() -> None:
    (row,) = (r for r in rows(busy(7), busy(6), View(), baseline=busy(5)) if r.name == CONTAINER)
    assert [(f.symbol, f.held_pages, f.charged_pages) for f in functions(row)] == [
        ("anon_pipe_write", 1200, 2000),
        ("pte_alloc_one", 311, 0),
    ]
