"""What is called growth from one recording to another, and what is not."""

import json
import random
from collections.abc import Callable

import pytest

from kmemtrace.model.comparison import (
    Amounts,
    Comparison,
    Difference,
    Measure,
    Part,
    RowKey,
    RowKind,
    Side,
    Verdict,
    compare,
    estimate,
)
from kmemtrace.model.student import quantile
from kmemtrace.report.diff import diff_document, report

ALL = RowKey(RowKind.ALL, "")
WEB = RowKey(RowKind.CGROUP, "/web")


def side(parts: list[Part], name: str = "r", tier: str = "fentry", begin: float = 0.0) -> Side:
    doubtful = sum(part.doubtful_bytes for part in parts)
    return Side(name, "node-7", "6.18", tier, begin, doubtful // 4096, doubtful, {}, parts)


def part(charged: int, growth: int = 0, held: int = 0, doubtful: int = 0, seconds: float = 10.0) -> Part:
    rows = {key: Amounts(charged, growth, held, charged // 4096, 2 * charged) for key in (ALL, WEB)}
    return Part(seconds, doubtful, rows)


def noisy(chance: random.Random, mean: float, spread: float = 0.1) -> Side:
    return side([part(round(chance.gauss(mean, spread * mean))) for _ in range(20)])


def of(found: Comparison, measure: Measure, key: RowKey = WEB) -> Difference:
    (one,) = (one for one in found.differences if one.key == key and one.measure is measure)
    return one


@pytest.mark.parametrize(
    ("outside", "freedom", "t"),
    [
        (0.05, 1, 12.7062),
        (0.05, 2, 4.3027),
        (0.05, 3, 3.1824),
        (0.05, 4, 2.7764),
        (0.05, 19, 2.0930),
        (0.05, 100, 1.9840),
        (0.001, 3, 12.9240),
        (0.001, 19, 3.8834),
        (0.01, 10, 3.1693),
    ],
)
def test_quantiles_are_those_of_the_tables(outside: float, freedom: int, t: float) -> None:
    assert quantile(outside, freedom) == pytest.approx(t, abs=1e-4)


def test_figures_a_second_and_a_charge() -> None:
    parts = [part(1000, 100, 5000), part(3000, 300, 7000, seconds=30.0)]
    told = {measure: estimate(side(parts), WEB, measure) for measure in Measure}
    values = {measure: one.value for measure, one in told.items() if one is not None}
    assert values == {
        Measure.HELD: 6000.0,
        Measure.CHARGED: 100.0,
        Measure.GROWTH: 10.0,
        Measure.KEPT: 0.1,
    }, "a charge of less than a page was not timed"


def test_chance_is_not_called_growth() -> None:
    """The same machine twice, five hundred times: at most about one in twenty is a false alarm."""
    chance = random.Random(1)
    alarms = 0
    for _ in range(500):
        found = compare(noisy(chance, 1e6), noisy(chance, 1e6))
        alarms += any(one.verdict in (Verdict.GREW, Verdict.SHRANK) for one in found.differences)
    assert alarms < 50


def test_growth_is_found() -> None:
    chance = random.Random(2)
    found = compare(noisy(chance, 1e6), noisy(chance, 1.3e6))
    one = of(found, Measure.CHARGED)
    assert one.verdict is Verdict.GREW
    assert one.uncertainty is not None
    assert abs(one.change - 0.3e5) < one.uncertainty
    assert one.grew_over(0.05)
    assert not one.grew_over(0.5)
    back = of(compare(noisy(chance, 1.3e6), noisy(chance, 1e6)), Measure.CHARGED)
    assert back.verdict is Verdict.SHRANK
    assert not back.grew_over(0.0)


def test_losses_widen_it_by_all_that_they_could_be() -> None:
    steady, more = [part(1_000_000)] * 20, [part(1_100_000)] * 20
    assert of(compare(side(steady), side(more)), Measure.CHARGED).uncertainty == 0.0
    lossy = [part(1_100_000, doubtful=120_000)] * 20
    one = of(compare(side(steady), side(lossy)), Measure.CHARGED)
    assert one.uncertainty == pytest.approx(12_000.0)
    assert one.verdict is Verdict.WITHIN
    held = of(compare(side([part(1, held=10)] * 20), side([part(1, held=20, doubtful=1)] * 20)), Measure.HELD)
    assert held.uncertainty == 20.0


def test_too_few_parts_tell_nothing() -> None:
    found = compare(side([part(1)] * 3), side([part(1_000_000)] * 20))
    assert {one.verdict for one in found.differences} == {Verdict.UNKNOWN}
    assert not any(one.grew_over(0.0) for one in found.differences)
    assert all(one.could_hide(0.05) for one in found.differences)
    assert "A has too few moments" in report(found, 10)


def test_what_is_new_is_held_against_the_whole() -> None:
    """A cgroup that was not there before has no percentage: a hundredth of all is what it is measured by."""
    before = side([part(1_000_000)] * 20)
    small, large = (
        side([Part(10.0, 0, {ALL: Amounts(1_000_000), RowKey(RowKind.CGROUP, "/new"): Amounts(size)})] * 20)
        for size in (400, 40_000)
    )
    new = RowKey(RowKind.CGROUP, "/new")
    one = of(compare(before, small), Measure.CHARGED, new)
    assert one.verdict is Verdict.GREW
    assert not one.grew_over(0.05)
    assert of(compare(before, large), Measure.CHARGED, new).grew_over(0.05)


def test_of_slab_caches_nothing_is_charged() -> None:
    key = RowKey(RowKind.CACHE, "dentry")
    parts = [Part(10.0, 4096, {ALL: Amounts(1000), key: Amounts(0, 50, 700)}, cached_seconds=10.0)] * 5
    told = {measure: estimate(side(parts), key, measure) for measure in Measure}
    values = {measure: (one.value, one.slack) for measure, one in told.items() if one is not None}
    assert values == {Measure.HELD: (700.0, 0.0), Measure.GROWTH: (5.0, 0.0), Measure.KEPT: (0.05, 0.0)}


def test_without_a_census_slab_caches_are_not_compared() -> None:
    """They were called gone."""
    key = RowKey(RowKind.CACHE, "dentry")
    rows = {ALL: Amounts(1000), key: Amounts(0, 50, 700)}
    told, untold = side([Part(10.0, 0, rows, cached_seconds=10.0)] * 5), side([part(1000)] * 5)
    for found, which in ((compare(told, untold), "B"), (compare(untold, told), "A")):
        assert not any(one.key.kind is RowKind.CACHE for one in found.differences)
        assert f"Note: {which} has no census, so slab caches are not compared." in report(found, 10)
    assert "no census" not in report(compare(told, told), 10)
    assert "no census" not in report(compare(untold, untold), 10)


def test_parts_without_a_census_tell_nothing_of_caches() -> None:
    key = RowKey(RowKind.CACHE, "dentry")
    rows = {ALL: Amounts(1000), key: Amounts(0, 50, 700)}
    parts = [part(1000), part(1000), Part(10.0, 0, rows, cached_seconds=5.0), Part(10.0, 0, rows, 10.0)]
    held, growth = (estimate(side(parts), key, measure) for measure in (Measure.HELD, Measure.GROWTH))
    assert held is not None
    assert growth is not None
    assert (held.value, held.parts) == (700.0, 2)
    assert (growth.value, growth.parts) == (100 / 15, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: compare(side([part(1)] * 5, begin=9.0), side([part(1)] * 5)), "B was recorded before A"),
        (lambda: compare(side([part(1)] * 5), side([part(1)] * 5, tier="tracepoint")), "in different ways"),
    ],
)
def test_what_a_reader_has_to_know(make: Callable[[], Comparison], words: str) -> None:
    assert words in report(make(), 10)


def test_text_and_json_say_the_same() -> None:
    chance = random.Random(2)
    found = compare(noisy(chance, 1e6), noisy(chance, 1.3e6))
    text = report(found, 10)
    assert text.startswith("A, before: r, of node-7, 6.18, fentry tier")
    assert "\nB, after: r" in text
    (line,) = (line for line in text.splitlines() if line.startswith("GREW") and "/web" in line)
    assert line.split()[1] == "charged/s"
    told = json.loads(json.dumps(diff_document(found, 0.05)))
    grew = [one for one in told["differences"] if one["verdict"] == "grew"]
    assert [(one["kind"], one["measure"], one["over"]) for one in grew] == [
        ("all", "charged", True),
        ("cgroup", "charged", True),
    ]
    assert grew[0]["a"]["parts"] == 20


def test_names_cannot_speak_to_the_terminal() -> None:
    key = RowKey(RowKind.CGROUP, "/a\x1b[2J")
    parts = [Part(10.0, 0, {ALL: Amounts(1000), key: Amounts(1000)})] * 5
    assert "\x1b" not in report(compare(side([part(0)] * 5), side(parts)), 10)
