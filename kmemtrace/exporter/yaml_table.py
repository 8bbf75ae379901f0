"""Reads tables of names and values from a YAML file."""

from pathlib import Path

import yaml

from kmemtrace.errors import UsageError
from kmemtrace.exporter.config_table import Table, WrongValueError


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
