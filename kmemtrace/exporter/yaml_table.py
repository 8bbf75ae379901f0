"""Reads tables of names and values from a YAML file, and knows their lines, to show what is wrong."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import yaml

from kmemtrace.errors import UsageError


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


class _Loader(yaml.SafeLoader):
    pass


def _construct(loader: _Loader, node: yaml.MappingNode) -> Table:
    loader.flatten_mapping(node)
    table = Table("", node.start_mark.line + 1)
    for key_node, value_node in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise WrongValueError(f"line {line}: the key {key!r} is no text; put it in quotes")
        if key in table:
            raise WrongValueError(f"line {line}, {key}: is there twice")
        table.put(key, loader.construct_object(value_node, deep=True), line)
    return table


_Loader.add_constructor("tag:yaml.org,2002:map", _construct)


def read(file: Path, option: str) -> Table:
    """Reads the table that a file consists of; it has no keys where the file says nothing.

    Raises:
        UsageError: It cannot be read; the message names the option, the file, and the line where it can.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        # Not all of the error: it quotes the file, and with it what is secret.
        raise UsageError(f"{option} {file}{line} cannot be read: it is no YAML: {error.problem}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise UsageError(f"{option} {file} cannot be read: {words}.") from None
    except WrongValueError as error:
        raise UsageError(f"{option} {file}, {error}.") from None
    if document is None:
        return Table("", 1)
    if not isinstance(document, Table):
        raise UsageError(f"{option} {file}, line 1: the file must be a table of names and values.")
    return document
