"""Whoever names a metric names one that there is: dashboards, rules and their tests, documents."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmemtrace.model.metric import Unit
from kmemtrace.model.metrics import Metric
from tests.prometheus import ROOT

SERIES = {name: metric for metric in Metric for name in metric.series}
"""What a server has."""
RULES = ROOT / "dashboards" / "prometheus"
RECORDED = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((RULES / "kmemtrace.rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
GRAFANA = sorted((ROOT / "dashboards" / "grafana").glob("*.json"))
ASKING = [
    *sorted((ROOT / "dashboards").rglob("*.py")),
    *sorted(RULES.glob("*.yml")),
    *GRAFANA,
    *sorted((ROOT / "deploy").rglob("*.yaml")),
]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = {"By cgroup": ("cgroup",), "Of the machine": (), "Of the tracer itself": ()}
"""Of docs/metrics.md: the labels that all metrics of its table have."""
GRAFANA_UNITS = {Unit.BYTES: "bytes", Unit.SECONDS: "s", Unit.PAGES: "short"}


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:instance:)?kmemtrace_\w+(?::\w+)?", text))


def metric_of(name: str) -> Metric:
    """That a series has, or a recorded one was made of."""
    return SERIES[name] if name in SERIES else metric_of(min(names_in(RECORDED[name])))


def test_names_are_found() -> None:
    assert names_in('x: sum(instance:kmemtrace_a:rate5m{job="kmemtrace"}) / kmemtrace_b_total') == {
        "instance:kmemtrace_a:rate5m",
        "kmemtrace_b_total",
    }
    assert {file.name for file in ASKING if names_in(file.read_text())} >= {
        "kmemtrace.rules.yml",
        "kmemtrace.alerts.yml",
        "kmemtrace.test.yml",
        *(file.name for file in GRAFANA),
    }


@pytest.mark.parametrize("file", ASKING, ids=lambda file: file.name)
def test_what_is_asked_for_is_there(file: Path) -> None:
    assert names_in(file.read_text()) <= SERIES.keys() | RECORDED.keys()


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_what_a_document_names_is_there(file: Path) -> None:
    assert names_in(file.read_text()) <= SERIES.keys() | RECORDED.keys() | {str(metric) for metric in Metric}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_name_tells_of_which_metric_it_is(name: str) -> None:
    level, family, _ = name.split(":")
    assert (level, family) == ("instance", metric_of(name).family)


def described() -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, type and labels of each metric of the tables in docs/metrics.md."""
    found = []
    for section in re.split(r"^## ", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE):
        of_all = SECTIONS.get(section.partition("\n")[0], ())
        for cell, kind in re.findall(r"^\| (`kmemtrace_.*?) \| (\w+) \|", section, re.MULTILINE):
            for name, labels in re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", cell):
                found.append((name, kind, (*of_all, *filter(None, labels.split(",")))))
    return found


def test_every_metric_is_described() -> None:
    """Once, with its type and its labels."""
    assert sorted(described()) == sorted((str(metric), metric.kind, metric.labels) for metric in Metric)


def panels(file: Path) -> list[dict[str, Any]]:
    """Those with an axis or a number; rows hold some, where they are folded."""
    found = json.loads(file.read_text())["panels"]
    found += [inner for panel in found for inner in panel.get("panels", [])]
    return [panel for panel in found if panel["type"] not in ("row", "table")]


@pytest.mark.parametrize("file", GRAFANA, ids=lambda file: file.stem)
def test_panels_have_the_unit_of_their_metrics(file: Path) -> None:
    """Those that show metrics of one unit."""
    for panel in panels(file):
        names = names_in(" ".join(target["expr"] for target in panel["targets"]))
        units = {metric_of(name).unit for name in names}
        unit = units.pop() if len(units) == 1 else None
        if unit is not None:
            assert panel["fieldConfig"]["defaults"]["unit"] == GRAFANA_UNITS[unit], panel["title"]
