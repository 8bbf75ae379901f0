"""The unit and the manifests, by the tools that will read them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kmemtrace.commands.export import DEFAULT_ADDRESS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "kmemtrace.service"
MANIFESTS = DEPLOY / "kubernetes"
KUBERNETES = "1.33"


def test_unit(tmp_path: Path) -> None:
    """With a program that is there in place of ours, which is not installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=40", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def manifest(name: str) -> dict[str, Any]:
    found = yaml.safe_load((MANIFESTS / name).read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", ["namespace.yaml", "serviceaccount.yaml", "daemonset.yaml"])
def test_manifests(name: str) -> None:
    """The PodMonitor is the Prometheus operator's, of which there is no schema here."""
    kubernetes_validate.validate(manifest(name), KUBERNETES, strict=True)


def test_every_manifest_is_applied() -> None:
    files = {file.name for file in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifest("kustomization.yaml")["resources"]) == files


def test_unit_and_manifest_grant_the_same() -> None:
    (container,) = manifest("daemonset.yaml")["spec"]["template"]["spec"]["containers"]
    granted = {f"CAP_{name}" for name in container["securityContext"]["capabilities"]["add"]}
    found = re.search(r"^CapabilityBoundingSet=(.+)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    assert set(found[1].split()) == granted


def test_everybody_agrees_on_the_port() -> None:
    port = DEFAULT_ADDRESS.rpartition(":")[2]
    for file in (UNIT, MANIFESTS / "daemonset.yaml", DEPLOY / "container" / "Containerfile"):
        assert f":{port}" in file.read_text(), file.name


def test_the_image_has_what_the_package_is_made_of() -> None:
    text = (DEPLOY / "container" / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]}
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert {"kmemtrace", "probes", "share", "pyproject.toml", "README.md", "LICENSE", "LICENSES"} <= copied
