"""Which cgroups have series, and that nothing which was counted is lost or counted twice."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from kmemtrace.exporter.encoding import Fixed
from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.metrics import families
from kmemtrace.exporter.series import OTHER, Counted, Selection
from kmemtrace.exporter.together import bytes_of
from kmemtrace.exporter.told import Told
from kmemtrace.exporter.whole import Whole
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Cgroup
from tests.sample import account, cgroup, site, snapshot


def charged(counted: Counted) -> dict[str, float]:
    return {one.cgroup: one.sums.charged_pages for one in counted.series}


def of(path: str, pages: int, freed: int = 0, *, dead: bool = False, number: int = 0) -> Cgroup:
    lifetime = Histogram.of([5000] * freed)
    return cgroup(path, (site(pages, freed),), id=number, dead=dead, lifetime=lifetime)


def test_most_of_what_is_held_has_series() -> None:
    selection = Selection(2)
    counted = selection.update(snapshot(of("/a", 100), of("/b", 300), of("/c", 900, 899)))
    assert charged(counted) == {"/a": 100, "/b": 300, OTHER: 900}
    assert counted.series[-1].cgroup == OTHER


def test_one_that_is_shown_stays_until_another_is_worth_twice_as_much() -> None:
    selection = Selection(1)
    selection.update(snapshot(of("/a", 100), of("/b", 90)))
    assert charged(selection.update(snapshot(of("/a", 100), of("/b", 130)))) == {"/a": 100, OTHER: 130}
    assert charged(selection.update(snapshot(of("/a", 100), of("/b", 400)))) == {"/b": 270, OTHER: 130}


def test_coming_back_it_counts_from_nothing() -> None:
    """What was charged meanwhile is with the others; a counter that begins anew is a reset."""
    selection = Selection(1)
    selection.update(snapshot(of("/a", 100), of("/b", 10)))
    selection.update(snapshot(of("/a", 100), of("/b", 1000)))
    counted = selection.update(snapshot(of("/a", 9100), of("/b", 1000)))
    assert charged(counted) == {"/a": 9000, OTHER: 10}


def test_a_removed_cgroup_is_told_once_more_and_then_gone() -> None:
    selection = Selection(5)
    selection.update(snapshot(of("/a", 100)))
    last = selection.update(snapshot(of("/a", 120, 120, dead=True)))
    assert charged(last) == {"/a": 120}
    assert last.series[0].held_pages == {}
    assert selection.update(snapshot()).series == ()


def test_a_cgroup_of_a_moment_is_among_the_others() -> None:
    selection = Selection(5)
    counted = selection.update(snapshot(of("/a", 120, 120, dead=True), of("/b", 1)))
    assert charged(counted) == {"/b": 1, OTHER: 120}
    assert charged(selection.update(snapshot(of("/b", 1)))) == {"/b": 1, OTHER: 120}


def test_charged_after_its_end_it_counts_from_nothing() -> None:
    """A task that still holds a removed cgroup's objcg: the tracer has forgotten the sums by then."""
    selection = Selection(5)
    selection.update(snapshot(of("/a", 120, 120, dead=True)))
    assert charged(selection.update(snapshot(of("/a", 3, dead=True)))) == {"/a": 3, OTHER: 120}


def test_a_removed_one_and_its_namesake_share_a_series_by_state() -> None:
    both = snapshot(of("/a", 7, dead=True, number=1), of("/a", 11, number=2))
    (one,) = Selection(5).update(both).series
    assert one.sums.charged_pages == 18
    assert one.held_pages == {CgroupState.DEAD: 7, CgroupState.ONLINE: 11}


STEP = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=8
)


@given(st.lists(STEP, max_size=12), st.integers(1, 4))
def test_what_was_counted_is_there_once_and_only_grows(
    steps: list[list[tuple[str, int, int, bool]]], most: int
) -> None:
    """Cgroups come, are charged and uncharged, and go as the tracer shows them: removed and empty in one
    last Snapshot."""
    selection, pages, freed = Selection(most), dict[str, int](), dict[str, int]()
    dead: set[str] = set()
    total, shown_before = 0, dict[str, float]()
    lost = 0.0
    """What went with the series of those that left."""
    for step in steps:
        for name in [n for n in dead if pages[n] == freed[n]]:
            del pages[name], freed[name]
            dead.discard(name)
        for name, more, less, removed in step:
            if name in dead:
                continue
            pages[name] = pages.get(name, 0) + more
            freed[name] = min(pages[name], freed.get(name, 0) + less)
            total += more
            if removed:
                freed[name] = pages[name]
                dead.add(name)
        rows = [of(f"/{n}", pages[n], freed[n], dead=n in dead) for n in pages]
        counted = selection.update(snapshot(*rows))
        shown = charged(counted)
        assert len([s for s in counted.series if s.cgroup != OTHER]) <= most
        lost += sum(count for path, count in shown_before.items() if path not in shown)
        for path, count in shown.items():
            assert count >= shown_before.get(path, 0.0) or path not in shown_before
        assert sum(shown.values()) + lost == total
        latencies = counted.latency.get("lifetime", Histogram.empty())
        assert latencies.count >= sum(freed.values())
        shown_before = shown


@given(st.lists(STEP, max_size=8), st.integers(1, 4))
def test_what_is_held_is_as_if_nothing_was_remembered(
    steps: list[list[tuple[str, int, int, bool]]], most: int
) -> None:
    """Of each that is shown, and of all others together; one that nothing happens to is the same object."""
    selection, rows = Selection(most), dict[tuple[str, bool], Cgroup]()
    for step in steps:
        for name, pages, freed, dead in step:
            one = of(f"/{name}", pages, min(pages, freed), dead=dead, number=ord(name) + 100 * dead)
            rows[name, dead] = dataclasses.replace(
                one, account=account(kernel=7 * freed) if pages % 2 else None
            )
        counted = selection.update(snapshot(*rows.values()))
        shown = {one.cgroup for one in counted.series}
        held, memory = dict[tuple[str, str], int](), dict[tuple[str, str], int]()
        for row in rows.values():
            label = row.path if row.path in shown else OTHER
            if row.state is not CgroupState.GONE:
                held[label, row.state] = held.get((label, row.state), 0) + row.held_pages
            if row.account is not None:
                for part, size in (*row.account.parts.items(), ("kernel", row.account.kernel_bytes or 0)):
                    memory[label, part] = memory.get((label, part), 0) + size
        told = {
            (one.cgroup, state): pages for one in counted.series for state, pages in one.held_pages.items()
        }
        assert told == held
        parts = {
            (one.cgroup, p): n for one in counted.series for p, n in one.memory.items() if p != "unexplained"
        }
        assert parts == memory
        removed = [row for row in rows.values() if row.state is CgroupState.DEAD]
        pages = sum(row.held_pages for row in rows.values())
        assert counted.whole == Whole(
            {"pipe": pages} if rows else {},
            len(removed),
            sum(row.held_pages for row in removed),
            sum(row.charged_pages > 0 for row in rows.values()),
        )
        again = selection.update(snapshot(*rows.values()))
        own = [
            (one, other)
            for one, other in zip(counted.series, again.series, strict=True)
            if one.cgroup != OTHER
        ]
        assert all(one is other for one, other in own)
        rows = {key: row for key, row in rows.items() if row.state is not CgroupState.GONE}


def test_what_the_tier_cannot_see_has_no_latency() -> None:
    blind = dataclasses.replace(of("/a", 100), latency={})
    assert Selection(5).update(snapshot(blind)).latency == {}


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\n\0"), min_size=1, max_size=255)
LONG = st.lists(PARTS, min_size=1, max_size=14).map(lambda parts: "/" + "/".join(parts))


@given(st.dictionaries(LONG, st.integers(0, 99), max_size=12), st.integers(1 << 12, 1 << 16))
def test_what_series_take_is_bounded_in_bytes(held: dict[str, int], most_bytes: int) -> None:
    """As they are written, in either format, with every metric that there is."""
    rows = [dataclasses.replace(of(path, pages), latency={}) for path, pages in held.items()]
    now = dataclasses.replace(snapshot(*rows), unseen={})
    counted = Selection(1000, most_bytes).update(now)
    own = [one for one in counted.series if one.cgroup != OTHER]
    told = Told(now, Counted(tuple(own), {}), (), None, 1000, most_bytes, 1, 0.1)
    for encode in (generate_latest, openmetrics):
        registry = CollectorRegistry()
        registry.register(Fixed(families(told)))
        lines = [line for line in encode(registry).splitlines() if b'cgroup="/' in line]
        assert sum(len(line) + 1 for line in lines) <= most_bytes
    cost = sum(bytes_of(label_of(path), path) for path in held)
    assert len(own) == len(held) or cost > most_bytes, "nobody is left out who has room"


def test_long_paths_in_great_number_leave_the_others_their_series() -> None:
    """1,100 cgroups with paths of 4 KB that hold a page each, and are charged for ever."""
    mine = [of(f"/system.slice/{i}.service", 500) for i in range(50)]
    selection = Selection(1000)
    for turn in range(3):
        crowd = [of(f"/user.slice/{'x' * 4000}/{i}", 5000 * turn + 1, 5000 * turn) for i in range(1100)]
        shown = charged(selection.update(snapshot(*crowd, *mine)))
    assert len(shown) == 1001
    assert {row.path for row in mine} <= shown.keys()
    assert sum(map(len, shown)) < 300_000


def test_one_path_is_one_series_from_one_snapshot_to_the_next() -> None:
    path = "/" + "x" * 4000
    selection = Selection(5)
    selection.update(snapshot(of(path, 3)))
    (one,) = selection.update(snapshot(of(path, 7))).series
    assert (one.cgroup, one.path, one.sums.charged_pages) == (label_of(path), path, 7)
