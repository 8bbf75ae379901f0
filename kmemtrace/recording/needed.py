"""Says what to install where a package is missing that recordings need."""

import importlib

from kmemtrace.errors import CannotError

EXTRA = "kmemtrace[report]"


def require(*packages: str) -> None:
    """Refuses to go on without packages that the base of kmemtrace does not bring.

    Raises:
        CannotError: One of them cannot be imported; the message says how to get it.
    """
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing = f"{name}, which is not installed" if error.name == name else f"{name} ({error})"
            raise CannotError(f"Recordings need {missing}: pip install '{EXTRA}'.") from None
