"""`make wheel`: what is in the files that are given away."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from kmemtrace import __version__
from manual.texts import SHARE

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built twice by the script, which fails where the two differ."""
    folder = tmp_path_factory.mktemp("dist")
    command = [str(REPOSITORY / "scripts" / "build-wheel"), sys.executable, str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_probes_licences_pages_and_completions(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"kmemtrace-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    wanted = {f"kmemtrace/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "probes").rglob("*.[ch]")}
    shared = f"kmemtrace-{__version__}.data/data/share"
    wanted |= {f"{shared}/{path.relative_to(SHARE)}" for path in SHARE.rglob("*") if path.is_file()}
    licences = f"kmemtrace-{__version__}.dist-info/licenses"
    vendored = (REPOSITORY / "kmemtrace/history/web/vendor").glob("LICENSE.*")
    wanted |= {f"{licences}/{path.relative_to(REPOSITORY)}" for path in vendored}
    wanted |= {f"{licences}/LICENSE", f"{licences}/LICENSES/GPL-2.0-only.txt"}
    assert len(wanted) > 40
    assert wanted - names == set()


def test_the_sdist_is_what_git_has(dist: Path) -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("there is no git, or this is no clone")
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    with tarfile.open(dist / f"kmemtrace-{__version__}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert "PKG-INFO" in names
    assert {name for name in listed.stdout.splitlines() if (REPOSITORY / name).exists()} - names == set()
