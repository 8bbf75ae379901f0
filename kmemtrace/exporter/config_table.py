"""Has tables of names and values that know their lines, to show what is wrong in one."""

from collections.abc import Set as AbstractSet
from typing import Any


class WrongValueError(Exception):
    """Says what is wrong, with its line and key before it."""


class Table(dict[str, Any]):
    def __init__(self, name: str, line: int) -> None:
        """Makes an empty table.

        Args:
            name: The keys that lead to it, with points between.
            line: Its line in the file, from 1 on.
        """
        super().__init__()
        self.name, self.line = name, line
        self._lines: dict[str, int] = {}

    def put(self, key: str, value: Any, line: int) -> None:
        self[key], self._lines[key] = value, line

    def wrong(self, key: str | None, words: str) -> WrongValueError:
        """Makes the error, to be raised, about a key of the table or about all of it."""
        where = f"line {self.line if key is None else self._lines.get(key, self.line)}"
        path = ".".join(filter(None, (self.name, key)))
        return WrongValueError(f"{where}, {path}: {words}" if path else f"{where}: {words}")

    def table(self, key: str, keys: AbstractSet[str] | None) -> "Table":
        """Returns a table within, empty where there is none; it has no keys but these."""
        value = self.get(key)
        if value is None:
            return Table(key, self._lines.get(key, self.line))
        if not isinstance(value, Table):
            raise self.wrong(key, "must be a table of names and values")
        value.name = ".".join(filter(None, (self.name, key)))
        value.only(keys)
        return value

    def only(self, keys: AbstractSet[str] | None) -> None:
        for key in self if keys is not None else ():
            if keys is not None and key not in keys:
                raise self.wrong(key, f"there is no key {key!r} here; there are {', '.join(sorted(keys))}")
