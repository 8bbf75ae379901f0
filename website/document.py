"""A page of every key of the JSON that `top` writes, from its schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from website.markdown import escape

Schema = dict[str, Any]
SCHEMA = Path(__file__).parents[1] / "docs" / "top.schema.json"

INTRODUCTION = """# JSON of top

{description} The same as a [JSON Schema](../top.schema.json), version {version};
[what a version promises](../releasing.md#what-a-version-promises). `[]` stands for each entry of a list,
`{{}}` for each value of an object whose keys are names."""


def page() -> str:
    schema: Schema = json.loads(SCHEMA.read_text())
    shared: dict[str, Schema] = schema["$defs"]
    top = INTRODUCTION.format(
        description=schema["description"], version=schema["properties"]["schema_version"]["const"]
    )
    parts = [top, "## Of a frame", _table(schema, shared)]
    for name, one in shared.items():
        if "properties" in one:
            parts += [f"## {name}", *([escape(one["description"])] if "description" in one else [])]
            parts.append(_table(one, shared))
    return "\n\n".join(parts) + "\n"


def _table(schema: Schema, shared: dict[str, Schema]) -> str:
    return "\n".join(["| key | type | |", "|---|---|---|", *_rows("", schema, shared)])


def _rows(prefix: str, schema: Schema, shared: dict[str, Schema]) -> Iterator[str]:
    for key, one in schema.get("properties", {}).items():
        path = f"{prefix}{key}"
        absent = "" if key in schema.get("required", []) else "*(may be absent)* "
        said = escape(one.get("description", ""))
        yield f"| `{path}` | {_type(one, shared)} | {absent}{said} |"
        yield from _rows(f"{path}.", one, shared)
        for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(one.get(part), dict):
                yield from _rows(f"{path}{mark}.", one[part], shared)


def _type(schema: Schema, shared: dict[str, Schema]) -> str:
    """A few words; a link where it has a table of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})" if "properties" in shared[name] else _type(shared[name], shared)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    said = " or ".join(kinds)
    if isinstance(schema.get("items"), dict):
        return f"{said} of {_type(schema['items'], shared)}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{said} of {_type(schema['additionalProperties'], shared)}"
    return said
