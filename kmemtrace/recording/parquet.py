"""Writes Arrow tables as Parquet."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kmemtrace.recording.schema import Table


def encoded(rows: Any) -> memoryview:
    """Returns the file of a table, as it was recorded."""
    return _written(rows)


def encoded_by_key(table: Table, rows: Any) -> memoryview:
    """Returns the file of a table whose rows are sorted by key, and by moment within each.

    What follows each other is alike then, and is told by how much it differs.
    """
    keys = {column.name for column in table.keys}
    encodings, coded = {}, []
    for field in rows.schema:
        if pa.types.is_string(field.type) or field.name in keys or pa.types.is_boolean(field.type):
            coded.append(field.name)
        elif pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif field.name == "counts":
            encodings["counts.list.element"] = "BYTE_STREAM_SPLIT"
        elif not pa.types.is_nested(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
    return _written(rows, use_dictionary=coded, column_encoding=encodings)


def _written(rows: Any, **how: Any) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", store_schema=False, **how)
    return memoryview(sink.getvalue())
