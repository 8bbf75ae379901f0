"""Finds the distribution's `bcc` from any virtual environment.

The binding is pure Python over libbcc and comes with the distribution only: the package of that name on PyPI
is an unrelated one. Opening a virtual environment to all of the system's packages would let those shadow the
locked ones, so only this package's folder is loaded.
"""

import importlib.util
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from kmemtrace.errors import CannotError
from kmemtrace.foreign import complete
from kmemtrace.limits import shortages

_INSTALL = (
    "Install python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora) or python-bcc (Arch)"
    " with the system's package manager."
)
_LIBRARY_FOLDERS = ("/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64")


def import_bcc(folders: Iterable[Path] | None = None) -> ModuleType:
    """Returns the BCC binding, imported as `bcc`; the same module on every call.

    Args:
        folders: They are searched for it, the first that has it wins; None for those of `sys.path`, then the
            distribution's.

    Raises:
        CannotError: There is none, or it does not load.
    """
    loaded = sys.modules.get("bcc")
    if loaded is not None and hasattr(loaded, "BPF") and hasattr(loaded, "libbcc"):
        complete(loaded)
        return loaded
    return _load(find_binding(folders))


def find_binding(folders: Iterable[Path] | None = None) -> Path:
    """Returns the folder of the BCC binding, without loading it; `folders` are as for import_bcc().

    Raises:
        CannotError: There is none.
    """
    for folder in _default_folders() if folders is None else folders:
        package = folder / "bcc"
        if _is_binding(package):
            return package
    raise CannotError(f"The Python binding of BCC is not installed. {_INSTALL}")


def bcc_version() -> str:
    """Returns the version of the binding, e.g. "0.26.0".

    Raises:
        CannotError: There is none, or it does not load.
    """
    return str(import_bcc().__version__)


def _is_binding(package: Path) -> bool:
    """Returns whether the folder `package` holds BCC's binding and not another project of its name."""
    return (package / "__init__.py").is_file() and (package / "libbcc.py").is_file()


def _default_folders() -> Iterator[Path]:
    # An empty entry is the current folder: nothing that root should run code from.
    yield from (Path(entry) for entry in sys.path if entry)
    own = f"python3.{sys.version_info.minor}"
    for library in map(Path, _LIBRARY_FOLDERS):
        # Being pure Python, the binding may be one that was packaged for another version.
        versions = sorted(library.glob("python3*"), key=lambda path: (path.name != own, path.name))
        for version in versions:
            yield version / "dist-packages"
            yield version / "site-packages"


def _load(package: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise CannotError(f"Python cannot load {package}. {_INSTALL}")
    module = importlib.util.module_from_spec(spec)
    _forget()
    sys.modules["bcc"] = module
    try:
        with warnings.catch_warnings():
            # Its regular expressions hold escapes that newer Pythons complain about.
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
        complete(module)
    except OSError as error:
        _forget()
        help_ = next(iter(shortages()), _INSTALL)
        raise CannotError(f"The library of BCC does not load ({error}). {help_}") from error
    except (ImportError, AttributeError, SyntaxError) as error:
        _forget()
        raise CannotError(
            f"The BCC binding in {package} does not load ({error}): it is broken, or of another"
            f" version than its library. {_INSTALL}"
        ) from error
    return module


def _forget() -> None:
    """Drops whatever is imported as `bcc`: an unrelated package, or what a failed load left."""
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        del sys.modules[name]
