"""kmemtrace under Pythons whose heap lies high, as position-independent ones have it; Debian's lies below
4 GiB, where a pointer that is cut to 32 bits is still right."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guests import debian
from guests.interpreters import SUITES, Python, debians

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = (".pyenv/versions/{}.*/bin/python{}", ".local/share/uv/python/cpython-{}.*/bin/python{}")


def this_machines(version: str) -> Python:
    """One that somebody installed; skips where there is none."""
    found = shutil.which(f"python{version}")
    places = [Path(found)] if found else []
    places += [p for place in ELSEWHERE for p in Path.home().glob(place.format(version, version))]
    for command in places:
        python = Python(command, {})
        if heap_is_high(python):
            return python
    pytest.skip(f"Debian has no Python {version}, and this machine none that is position-independent")


def heap_is_high(python: Python) -> bool:
    return python.run("-c", "print(id(object()) >> 32 > 0)").stdout.strip() == "True"


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """With the locked packages, and this checkout."""
    if platform.machine() != "x86_64":
        pytest.skip("Debian's Pythons are fetched for x86_64 only")
    version: str = request.param
    folder = tmp_path_factory.mktemp(f"python{version}")
    if version in SUITES:
        try:
            found = debians(version, folder)
        except debian.NotToBeHadError as error:
            pytest.skip(f"Debian's Python {version} cannot be had: {error}")
    else:
        found = this_machines(version)
    packages = folder / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    install += ["--root-user-action=ignore", "--require-hashes", "-r", str(REPOSITORY / "requirements.lock")]
    install += ["--only-binary=:all:", f"--python-version={version}", f"--target={packages}"]
    subprocess.run(install, check=True)
    yield Python(found.command, {**found.environment, "PYTHONPATH": f"{REPOSITORY}:{packages}"})
    shutil.rmtree(folder)


def test_it_is_the_kind_that_it_is_to_be(python: Python) -> None:
    assert heap_is_high(python)


@pytest.mark.usefixtures("_able")
def test_top(python: Python) -> None:
    done = python.run("-m", "kmemtrace", "top", "--once", "--duration", "0.5", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["own_bytes"] > 1 << 20
    assert document["cgroups"]


@pytest.mark.usefixtures("_able")
def test_verify(python: Python) -> None:
    done = python.run("-m", "kmemtrace", "verify", "--json", "--", "true")
    assert done.stderr == ""
    assert json.loads(done.stdout)["command"]
