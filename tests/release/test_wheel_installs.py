"""The wheel, installed in each way that the README names, on each Debian and under others' Pythons."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from guests.interpreters import Python
from tests.packaging.test_interpreters import ELSEWHERE, heap_is_high
from tests.release.roots import CACHE, Root

REPOSITORY = Path(__file__).parents[2]
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/wheels",
    "UV_OFFLINE": "1",
    "UV_FIND_LINKS": "/wheels",
    "UV_NO_CACHE": "1",
    "HOME": "/home/someone",
}


@dataclass(frozen=True)
class Way:
    install: str
    command: str
    uninstall: str


WAYS = {
    "pip": Way(
        "python3 -m venv ~/v && ~/v/bin/pip install -q {wheel}",
        "/home/someone/v/bin/kmemtrace",
        "~/v/bin/pip uninstall -qy kmemtrace",
    ),
    "pipx": Way(
        "pipx install {wheel}",
        "/home/someone/.local/bin/kmemtrace",
        "pipx uninstall kmemtrace",
    ),
    "uv tool": Way(
        "python3 -m venv ~/uv && ~/uv/bin/pip install -q uv"
        " && ~/uv/bin/uv tool install -q --compile-bytecode {wheel}",
        "/home/someone/.local/bin/kmemtrace",
        "~/uv/bin/uv tool uninstall kmemtrace",
    ),
}
NOTES = re.compile(r"/(root|home/someone)/\.local/(state/pipx/log|pipx/logs)/")
"""What pipx writes down of each install."""
(CLEAN,) = re.findall(r"^    sudo (rm .*?)  +#", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
"""Compiled programs are kept for the next start, and no tool of Python's removes what a program made."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def test_installed_used_and_removed(suite: str, root: Root, way: Way, wheel: Path, wheels: Path) -> None:
    def someone(script: str) -> None:
        root.run(f"runuser -u someone -- sh -ec {shlex.quote(script)}", environment=OFFLINE)

    root.bind("/mnt", wheel.parent)
    root.bind("/wheels", wheels)
    root.run("id someone >/dev/null 2>&1 || useradd --create-home someone")
    someone(way.install.format(wheel=f"/mnt/{wheel.name}"))
    assert json.loads(root.run(f"{way.command} check --json").stdout)["tier"]
    frame = json.loads(root.run(f"{way.command} top --once --duration 1s --json").stdout)
    assert frame["cgroups"]
    assert (
        "pip install 'kmemtrace[report]'" in root.run(f"{way.command} record -o /x -- true", status=4).stderr
    )
    someone(way.uninstall)
    root.run(CLEAN)
    left = {path for path in root.changed() if "kmemtrace" in path}
    assert {path for path in left if NOTES.match(path) is None} == set()


@pytest.fixture(scope="module")
def uv(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uv")
    install = ["install", "-q", "--no-index", f"--find-links={wheels}", f"--target={folder}", "uv"]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return folder / "bin" / "uv"


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest, uv: Path) -> Path:
    """One that somebody built, as pyenv does, or brought, as uv does."""
    version: str = request.param
    found = [p for place in ELSEWHERE for p in Path.home().glob(place.format(version, version))]
    return found[0] if found else _brought(version, uv)


def _brought(version: str, uv: Path) -> Path:
    """The one of python-build-standalone, which uv downloads."""
    pythons = CACHE / "pythons"
    bring: list[str | Path] = [uv, "python", "install", "-q", f"--install-dir={pythons}", version]
    done = subprocess.run(bring, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.partition("\n")[0]
        pytest.skip(f"this machine has no Python {version} but Debian's, and uv brings none: {reason}")
    return next(pythons.glob(f"cpython-{version}.*/bin/python{version}"))


@pytest.fixture
def command(python: Path, uv: Path, wheel: Path, wheels: Path, tmp_path: Path) -> Path:
    home = tmp_path / "v"
    subprocess.run([uv, "venv", "-q", f"--python={python}", home], check=True)
    install: list[str | Path] = [uv, "pip", "install", "-q", f"--python={home}/bin/python", "--no-cache"]
    subprocess.run([*install, "--no-index", f"--find-links={wheels}", f"{wheel}[report]"], check=True)
    return home / "bin" / "kmemtrace"


def test_under_a_python_that_debian_did_not_build(python: Path, command: Path, tmp_path: Path) -> None:
    # Pointers that are cut to 32 bits, as bcc cuts them by itself, are then wrong.
    assert heap_is_high(Python(python, {}))

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
