"""Finding the distribution's BCC binding, and refusing what only looks like it."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kmemtrace.errors import CannotError, ExitStatus
from kmemtrace.tracer.find_bcc import bcc_version, import_bcc

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("python3-bpfcc", "python3-bcc", "python-bcc")


@pytest.fixture(autouse=True)
def nothing_imported() -> Iterator[None]:
    """No `bcc` imported at the start; at the end, what other tests had imported is back."""
    before = _take_imported()
    yield
    _take_imported()
    sys.modules.update(before)


def _take_imported() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]
    return {name: sys.modules.pop(name) for name in names}


def _package(folder: Path, **files: str) -> Path:
    """A package `bcc` in `folder`, with the content of each of its modules; returns `folder`."""
    (folder / "bcc").mkdir(parents=True)
    for name, content in files.items():
        (folder / "bcc" / f"{name}.py").write_text(content)
    return folder


def _binding(folder: Path, version: str) -> Path:
    init = f"from . import libbcc\n__version__ = {version!r}\nclass BPF: ...\n"
    return _package(folder, __init__=init, libbcc="lib = None")


def _unrelated(folder: Path) -> Path:
    return _package(folder, __init__="raise AssertionError('an unrelated package was run')")


def test_finds_the_distributions_binding() -> None:
    bcc = import_bcc()
    assert callable(bcc.BPF)
    assert bcc_version().split(".")[0].isdigit()
    assert import_bcc() is bcc


def test_a_virtual_environment_sees_bcc_and_nothing_else_of_the_system(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    code = (
        "from kmemtrace.tracer.find_bcc import bcc_version, import_bcc\n"
        "import sys\n"
        "print(import_bcc().__file__, bcc_version())\n"
        "print([p for p in sys.path if 'dist-packages' in p])\n"
    )
    result = subprocess.run(
        [environment / "bin" / "python", "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": f"{_unrelated(tmp_path / 'pypi')}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "packages/bcc/__init__.py" in result.stdout
    assert result.stdout.endswith("\n[]\n")


def test_the_first_folder_that_has_it_wins(tmp_path: Path) -> None:
    folders = [
        tmp_path / "missing",
        _unrelated(tmp_path / "unrelated"),
        _binding(tmp_path / "first", "1.2.3"),
        _binding(tmp_path / "second", "4.5.6"),
    ]
    assert import_bcc(folders).__version__ == "1.2.3"
    assert bcc_version() == "1.2.3"


def test_an_unrelated_package_imported_before_is_replaced(tmp_path: Path) -> None:
    folder = _package(tmp_path / "unrelated", __init__="")
    sys.path.insert(0, str(folder))
    try:
        __import__("bcc")
    finally:
        sys.path.remove(str(folder))
    assert import_bcc([_binding(tmp_path / "real", "1.2.3")]) is sys.modules["bcc"]
    assert bcc_version() == "1.2.3"


def test_the_current_folder_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_binding(tmp_path / "here", "6.6.6"))
    monkeypatch.syspath_prepend("")
    assert bcc_version() != "6.6.6"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "is not installed"),
        ({"__init__": ""}, "is not installed"),
        (
            {
                "__init__": "from . import libbcc",
                "libbcc": "import ctypes\nctypes.CDLL('libbcc-that-nobody-has.so.0')",
            },
            "libbcc-that-nobody-has.so.0",
        ),
        ({"__init__": "from .libbcc import lib", "libbcc": ""}, "of another version"),
        ({"__init__": "from . import libbcc\nlibbcc.lib", "libbcc": ""}, "of another version"),
        ({"__init__": "print 'Python 2'", "libbcc": ""}, "of another version"),
    ],
    ids=["missing", "unrelated", "no library", "no module", "no symbol", "Python 2"],
)
def test_says_what_is_missing_and_what_to_install(
    tmp_path: Path, files: dict[str, str] | None, says: str
) -> None:
    folder = tmp_path / "packages"
    if files is not None:
        _package(folder, **files)
    with pytest.raises(CannotError) as caught:
        import_bcc([folder])
    assert says in str(caught.value)
    assert all(package in str(caught.value) for package in PACKAGES)
    assert caught.value.status is ExitStatus.CANNOT
    assert not any(name.partition(".")[0] == "bcc" for name in sys.modules)


def test_its_warnings_are_not_the_users(tmp_path: Path) -> None:
    folder = _package(
        tmp_path, __init__="from . import libbcc\nclass BPF: ...\nx = '\\.'\n", libbcc="lib = '\\.'"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_bcc([folder])
    assert caught == []
