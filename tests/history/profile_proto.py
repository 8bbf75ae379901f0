"""Reads pprof's protobuf by Google's library, with the messages of github.com/google/pprof as they are."""

import gzip
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_INT64, _UINT64, _BOOL, _STRING, _MESSAGE = 3, 4, 8, 9, 11
_OPTIONAL, _REPEATED = 1, 3
# Name, number, type (or the name of a message), whether it is repeated: all fields of proto/profile.proto.
_MESSAGES: dict[str, list[tuple[str, int, int | str, bool]]] = {
    "Profile": [
        ("sample_type", 1, "ValueType", True),
        ("sample", 2, "Sample", True),
        ("mapping", 3, "Mapping", True),
        ("location", 4, "Location", True),
        ("function", 5, "Function", True),
        ("string_table", 6, _STRING, True),
        ("drop_frames", 7, _INT64, False),
        ("keep_frames", 8, _INT64, False),
        ("time_nanos", 9, _INT64, False),
        ("duration_nanos", 10, _INT64, False),
        ("period_type", 11, "ValueType", False),
        ("period", 12, _INT64, False),
        ("comment", 13, _INT64, True),
        ("default_sample_type", 14, _INT64, False),
    ],
    "ValueType": [("type", 1, _INT64, False), ("unit", 2, _INT64, False)],
    "Sample": [("location_id", 1, _UINT64, True), ("value", 2, _INT64, True), ("label", 3, "Label", True)],
    "Label": [
        ("key", 1, _INT64, False),
        ("str", 2, _INT64, False),
        ("num", 3, _INT64, False),
        ("num_unit", 4, _INT64, False),
    ],
    "Mapping": [
        ("id", 1, _UINT64, False),
        ("memory_start", 2, _UINT64, False),
        ("memory_limit", 3, _UINT64, False),
        ("file_offset", 4, _UINT64, False),
        ("filename", 5, _INT64, False),
        ("build_id", 6, _INT64, False),
        ("has_functions", 7, _BOOL, False),
        ("has_filenames", 8, _BOOL, False),
        ("has_line_numbers", 9, _BOOL, False),
        ("has_inline_frames", 10, _BOOL, False),
    ],
    "Location": [
        ("id", 1, _UINT64, False),
        ("mapping_id", 2, _UINT64, False),
        ("address", 3, _UINT64, False),
        ("line", 4, "Line", True),
        ("is_folded", 5, _BOOL, False),
    ],
    "Line": [("function_id", 1, _UINT64, False), ("line", 2, _INT64, False), ("column", 3, _INT64, False)],
    "Function": [
        ("id", 1, _UINT64, False),
        ("name", 2, _INT64, False),
        ("system_name", 3, _INT64, False),
        ("filename", 4, _INT64, False),
        ("start_line", 5, _INT64, False),
    ],
}


def _profile_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="profile.proto", package="perftools.profiles", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, type_, repeated in fields:
            of = message.field.add(name=field, number=number, label=_REPEATED if repeated else _OPTIONAL)
            if isinstance(type_, str):
                of.type, of.type_name = _MESSAGE, f".perftools.profiles.{type_}"  # type: ignore[assignment]
            else:
                of.type = type_  # type: ignore[assignment]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perftools.profiles.Profile"))


def parsed(data: bytes) -> Any:
    """The Profile, which has no field that is not in the messages above."""
    profile = _profile_class()()
    plain = gzip.decompress(data)
    profile.ParseFromString(plain)
    again = profile.SerializeToString(deterministic=True)
    assert len(again) == len(plain), "a field is unknown, or not written as it is read"
    return profile
