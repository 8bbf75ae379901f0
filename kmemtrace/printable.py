"""Makes names that others chose fit to be printed."""

import unicodedata


def printable(name: str) -> str:
    """Returns a name without control characters.

    Whoever may make a cgroup chooses its name, and it must not speak to the terminal.
    """
    return "".join("?" if unicodedata.category(c).startswith("C") else c for c in name)
