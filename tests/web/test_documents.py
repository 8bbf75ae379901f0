"""The rules, as promtool tests them, and that the dashboards and documents go with them."""

import json
import re
import subprocess

import yaml

from dashboards.server import RULES
from dashboards.source.build import texts
from kmemtrace.model.metrics import Metric
from tests.prometheus import ROOT, tool


def test_rules() -> None:
    said = subprocess.run(
        [tool("promtool"), "test", "rules", "kmemtrace.test.yml"],
        cwd=RULES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_has_a_test_and_a_section() -> None:
    rules = yaml.safe_load((RULES / "kmemtrace.alerts.yml").read_text())["groups"][0]["rules"]
    tested = (RULES / "kmemtrace.test.yml").read_text()
    sections = re.findall(r"^## (\w+)", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in rules] == sections
    for rule in rules:
        assert f"alertname: {rule['alert']}" in tested
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"


def test_the_dashboards_are_those_of_the_code() -> None:
    folder = ROOT / "dashboards" / "grafana"
    assert {file.name: file.read_text() for file in folder.glob("*.json")} == texts(), "run: make dashboards"


def test_every_panel_tells_what_it_shows() -> None:
    for text in texts().values():
        for panel in json.loads(text)["panels"]:
            if panel["type"] != "row":
                assert panel["title"]
                assert panel["description"], panel["title"]
                assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
                assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_no_label_is_taken_by_the_operator() -> None:
    """Prometheus renames a metric's label where the target has one of that name."""
    manifest = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "podmonitor.yaml").read_text())
    of_target = {"namespace", "pod", "container", "endpoint", "job", "instance"}
    for step in manifest["spec"]["podMetricsEndpoints"][0]["relabelings"]:
        if step.get("action") == "labeldrop":
            of_target = {name for name in of_target if not re.fullmatch(step["regex"], name)}
    of_metrics = {label for metric in Metric for label in metric.labels}
    assert not of_target & of_metrics
