"""kmemtrace: whose kernel memory every page is, and whether every charge comes back."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmemtrace.recording.load import Recording

__version__ = "0.1.0"


def load(folder: "str | os.PathLike[str]") -> "Recording":
    """Reads a recording that `kmemtrace record` wrote, as pandas' DataFrames (docs/analysis.md).

    Raises:
        CannotError: pandas or pyarrow are not installed.
        DamagedError: A file is not as it was written.
        UsageError: It is no recording, it has nothing in it yet, or it is of a later version.
    """
    # Here: who only traces needs neither pandas nor the time that it takes to import.
    from kmemtrace.recording.needed import require  # noqa: PLC0415

    require("pyarrow", "pandas")
    from kmemtrace.recording.load import load as read  # noqa: PLC0415

    return read(folder)
