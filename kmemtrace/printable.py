"""Names that others chose, as they may be printed."""

import unicodedata


def printable(name: str) -> str:
    """A name without control characters: whoever may make a cgroup chooses its name, and it must
    not speak to the terminal."""
    return "".join("?" if unicodedata.category(c).startswith("C") else c for c in name)
