"""The wheel, installed in each way that the README names, on each Debian and under others' Pythons."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.test_interpreters import ELSEWHERE
from tests.release.roots import Root

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "UV_OFFLINE": "1", "UV_FIND_LINKS": "/wheels"}


@dataclass(frozen=True)
class Way:
    install: str
    command: str
    uninstall: str


WAYS = {
    "pip": Way(
        "python3 -m venv /opt/v && /opt/v/bin/pip install -q {wheel}",
        "/opt/v/bin/kmemtrace",
        "/opt/v/bin/pip uninstall -qy kmemtrace",
    ),
    "pipx": Way(
        "pipx install {wheel}",
        "/root/.local/bin/kmemtrace",
        "pipx uninstall kmemtrace && rm -rf /root/.local/pipx/logs /root/.local/state/pipx/log",
    ),
    "uv tool": Way(
        "python3 -m venv /opt/uv && /opt/uv/bin/pip install -q uv && /opt/uv/bin/uv tool install -q {wheel}",
        "/root/.local/bin/kmemtrace",
        "/opt/uv/bin/uv tool uninstall kmemtrace",
    ),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_installed_used_and_removed(suite: str, root: Root, way: Way, wheel: Path, wheels: Path) -> None:
    root.bind("/mnt", wheel.parent)
    root.bind("/wheels", wheels)
    root.run(way.install.format(wheel=f"/mnt/{wheel.name}"), environment=OFFLINE)
    assert json.loads(root.run(f"{way.command} check --json").stdout)["tier"]
    frame = json.loads(root.run(f"{way.command} top --once --duration 1s --json").stdout)
    assert frame["cgroups"]
    assert (
        "pip install 'kmemtrace[report]'" in root.run(f"{way.command} record -o /x -- true", status=4).stderr
    )
    root.run(way.uninstall, environment=OFFLINE)
    left = {path for path in root.changed() if "kmemtrace" in path and "__pycache__" not in path}
    # Compiled programs are kept for the next start; no tool of Python's removes what a program made.
    assert {path for path in left if not path.startswith("/var/cache/kmemtrace")} == set()


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest) -> Path:
    """One of this machine that somebody built, as pyenv does, or brought, as uv does."""
    found = [p for place in ELSEWHERE for p in Path.home().glob(place.format(request.param, request.param))]
    if not found:
        pytest.skip(f"this machine has no Python {request.param} but Debian's")
    return found[0]


@pytest.fixture
def command(python: Path, wheel: Path, wheels: Path, tmp_path: Path) -> Path:
    subprocess.run([python, "-m", "venv", tmp_path / "v"], check=True)
    install: list[str | Path] = [
        tmp_path / "v/bin/pip",
        "install",
        "-q",
        "--no-index",
        f"--find-links={wheels}",
        f"{wheel}[report]",
    ]
    subprocess.run(install, check=True)
    return tmp_path / "v/bin/kmemtrace"


def test_under_a_python_that_debian_did_not_build(command: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": ""}
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("check", "--json"))["tier"]
    assert json.loads(run("top", "--once", "--duration", "1s", "--json"))["cgroups"]
    run("record", "-o", "recording", "--", "sleep", "1")
    assert "Snapshots" in run("report", "recording")
