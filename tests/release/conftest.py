"""Packages are installed on bare roots of Debian, which takes minutes: `make test-release` alone does it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.release.roots import BUILDING, CACHE, SUITES, Root, bare, builder

REPOSITORY = Path(__file__).parents[2]
ASKED = "KMEMTRACE_RELEASE" in os.environ
collect_ignore = [] if ASKED else ["test_deb.py", "test_start_page.py", "test_wheel_installs.py"]


@pytest.fixture(scope="session")
def wheel() -> Path:
    """What `make wheel` built."""
    (found,) = (REPOSITORY / "dist").glob("kmemtrace-*.whl")
    return found


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def root(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """Debian with what kmemtrace depends on, and none of kmemtrace."""
    return Root(bare(suite), tmp_path_factory.mktemp(suite))


@pytest.fixture(scope="module")
def debs(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that `make deb` builds on that Debian from the sdist."""
    (sdist,) = (REPOSITORY / "dist").glob("kmemtrace-*.tar.gz")
    work = tmp_path_factory.mktemp(f"{suite}-build")
    build = Root(builder(suite), work, {"/mnt": sdist.parent, "/var/cache/pip": CACHE / "pip"})
    build.run(f"mkdir /src && tar -xf /mnt/{sdist.name} -C /src --strip-components=1")
    build.run("make -C /src deb", environment=BUILDING)
    return work / "upper" / "src" / "dist"


@pytest.fixture(scope="session")
def wheels() -> Path:
    """What the locks name, for each Python, so that what is installed is what is released."""
    lock = REPOSITORY / "requirements-report.lock"
    folder = CACHE / f"wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        half = folder.with_suffix(".half")
        download = [sys.executable, "-m", "pip", "-q", "download", "--only-binary=:all:", f"--dest={half}"]
        for version in ("3.11", "3.12", "3.13"):
            locked = ["--require-hashes", "-r", str(lock)]
            subprocess.run([*download, f"--python-version={version}", *locked], check=True)
        subprocess.run([*download, "pip", "setuptools", "wheel", "uv"], check=True)
        half.rename(folder)
    return folder
