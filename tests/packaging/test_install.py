"""`make install`: a wheel from this checkout, the locked packages, and a command that runs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmemtrace import __version__
from manual.texts import SHARE

REPOSITORY = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    # A make that runs these tests would pass its own options on to the one that they run.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where kmemtrace is installed; checks at the end that uninstalling leaves nothing."""
    base = tmp_path_factory.mktemp("install")
    keep = base / "prefix" / "bin" / "someone else's"
    assert _run("make", "install", f"PREFIX={base}/prefix") == ""
    keep.touch()
    yield base / "prefix"
    assert _run("make", "uninstall", f"PREFIX={base}/prefix") == ""
    assert list((base / "prefix").rglob("*")) == [keep.parent, keep]


def _python(prefix: Path, code: str) -> str:
    return _run(prefix / "lib/kmemtrace/bin/python", "-c", code, cwd=prefix)


def test_the_command_runs_from_anywhere(prefix: Path) -> None:
    assert __version__ in _run(prefix / "bin/kmemtrace", "--version", cwd=Path("/"))


def test_the_wheel_holds_the_package_and_every_probe(prefix: Path) -> None:
    package = Path(_python(prefix, "import kmemtrace; print(kmemtrace.__path__[0])").strip())
    assert package.is_relative_to(prefix)
    for folder in ("kmemtrace", "probes"):
        installed = package if folder == "kmemtrace" else package / "probes"
        sources = _sources(REPOSITORY / folder)
        assert sources, f"{folder} holds no sources"
        assert sources <= _sources(installed)


def _sources(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".c", ".h", ".py", ".typed", ".html", ".css", ".js"}
    }


def test_manual_pages_and_completions_are_where_they_are_looked_for(prefix: Path) -> None:
    shared = [file.relative_to(SHARE) for file in SHARE.rglob("*") if file.is_file()]
    assert len(shared) > 10
    for name in shared:
        link = prefix / "share" / name
        assert link.is_symlink()
        assert link.read_text() == (SHARE / name).read_text()


def test_it_finds_bcc(prefix: Path) -> None:
    code = "from kmemtrace.tracer.find_bcc import bcc_version; print(bcc_version())"
    assert _python(prefix, code).strip()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "lib" / "kmemtrace" / "data"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    command = ["make", "-s", "install", f"PREFIX={tmp_path}"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "is not ours" in result.stderr
    _run("make", "uninstall", f"PREFIX={tmp_path}")
    assert theirs.exists()
