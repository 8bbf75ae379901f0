"""What the forge runs and shows: of the form that it takes, and with targets that there are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
FORGE = REPOSITORY / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
FORMS = sorted(file for file in (FORGE / "ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_is_of_the_forges_form(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    said = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_makes_what_can_be_made(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    steps = [step for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job["steps"]]
    made = {word for step in steps for word in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert made
    assert made <= targets


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_a_form_asks_for_what_it_needs(file: Path) -> None:
    form = yaml.safe_load(file.read_text())
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert {"name", "description", "labels", "body"} <= form.keys()
    assert len({one["id"] for one in fields}) == len(fields)
    assert "check" in {one["id"] for one in fields}
    assert all(one["attributes"]["label"] for one in fields)


def test_each_owned_path_is_there() -> None:
    lines = [line.split() for line in (FORGE / "CODEOWNERS").read_text().splitlines()]
    paths = [words[0] for words in lines if words and not words[0].startswith("#")]
    assert len(paths) > 1
    assert [path for path in paths if path != "*" and not (REPOSITORY / path.lstrip("/")).exists()] == []
