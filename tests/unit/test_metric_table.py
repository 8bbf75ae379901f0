"""The table of metrics: what each is called, and that each is read in one place."""

import pytest

from kmemtrace.exporter import by_cgroup, itself, metrics, mismatches, of_machine
from kmemtrace.exporter.latencies import HISTOGRAMS
from kmemtrace.exporter.series import Sums
from kmemtrace.model.metric import Kind, Unit
from kmemtrace.model.metrics import Metric
from tests.unit.test_metrics import everything


@pytest.mark.parametrize("metric", Metric)
def test_each_is_read_in_one_place(metric: Metric) -> None:
    places = {
        "its row": metric.read is not None,
        "exporter.metrics.READERS": metric in metrics.READERS,
        "exporter.latencies.HISTOGRAMS": metric in HISTOGRAMS,
    }
    assert sum(places.values()) == 1, places
    assert (metric in HISTOGRAMS) == (metric.kind is Kind.HISTOGRAM)


def test_no_reader_hides_another() -> None:
    parts = [by_cgroup.READERS, mismatches.READERS, of_machine.READERS, itself.READERS]
    assert sum(map(len, parts)) + 1 == len(metrics.READERS)


def test_each_sum_of_a_series_is_a_counter() -> None:
    for field in Sums._fields:
        assert Metric[field.upper()].kind is Kind.COUNTER


def test_families_are_those_of_the_table() -> None:
    """Where all is seen and asked for; each value has the labels of its row."""
    found = {family.name: family for family in metrics.families(everything())}
    assert list(found) == [metric.family for metric in Metric]
    for metric in Metric:
        family = found[metric.family]
        kind = Kind.GAUGE if metric.kind is Kind.INFO else metric.kind
        assert (family.type, family.documentation) == (kind, metric.text)
        assert {sample.name for sample in family.samples} == set(metric.series), metric
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric


def test_what_a_name_tells() -> None:
    assert str(Metric.CHARGED_PAGES) == "kmemtrace_charged_pages_total"
    assert str(Metric.HELD_BYTES) == Metric.HELD_BYTES.family == "kmemtrace_held_bytes"
    assert Metric.CHARGE_LATENCY_SECONDS.series[0] == "kmemtrace_charge_latency_seconds_bucket"
    assert (Metric.HELD_BYTES.unit, Metric.CENSUS_SECONDS.unit) == (Unit.BYTES, Unit.SECONDS)
    assert (Metric.CHARGED_PAGES.unit, Metric.CHARGES.unit) == (Unit.PAGES, None)
    for metric in Metric:
        assert metric.family.endswith("_info") == (metric.kind is Kind.INFO), metric
        assert metric.text.endswith("."), metric
