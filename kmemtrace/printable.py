"""Makes names that others chose fit to be printed."""

import unicodedata


def printable(name: str) -> str:
    """Returns a name without control characters, and in one line.

    Whoever may make a cgroup chooses its name, and it must not speak to the terminal.
    """
    return "".join("?" if _is_control(unicodedata.category(c)) else c for c in name)


def _is_control(category: str) -> bool:
    return category.startswith("C") or category in {"Zl", "Zp"}
