"""Says what to install where a package is missing that recordings need."""

import importlib
from pathlib import Path

from kmemtrace.errors import CannotError

EXTRA = "kmemtrace[report]"
DEBIANS = Path("/usr/lib/kmemtrace/kmemtrace")
"""Where the Debian package puts what this file belongs to: there pip can add nothing."""


def require(*packages: str) -> None:
    """Refuses to go on without packages that the base of kmemtrace does not bring.

    Raises:
        CannotError: One of them cannot be imported; the message says how to get it.
    """
    remedy = remedy_for(Path(__file__))
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing = f"{name}, which is not installed" if error.name == name else f"{name} ({error})"
            raise CannotError(f"Recordings need {missing}: {remedy}.") from None


def remedy_for(file: Path) -> str:
    """Tells how to get the packages.

    Args:
        file: One of the installed kmemtrace, which shows how it was installed.
    """
    if file.is_relative_to(DEBIANS):
        return "install the Debian package kmemtrace-report of the same version"
    return f"pip install '{EXTRA}'"
