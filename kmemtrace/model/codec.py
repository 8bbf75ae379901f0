"""Turns frozen dataclasses to JSON types and back, by the types that their fields are annotated with.

A key is the name of its field, and a field that is None has no key; where a class differs from that, a
`Shape` says how. So a field that is added to a class is in its JSON, and comes back, without a line here.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from kmemtrace.model.histogram import Histogram

_T = TypeVar("_T")
Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How the JSON of a class differs from its fields."""

    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Keys by field, where a key is not the field's name."""
    merged: frozenset[str] = frozenset()
    """Fields whose own keys stand among those of the object that they belong to."""
    null: frozenset[str] = frozenset()
    """Fields that are null when None: there is nothing, which is not the same as not knowing."""
    hexadecimal: frozenset[str] = frozenset()
    """Fields that are addresses: as numbers, programs that know only floating-point ones would round them."""
    more: Callable[[Any], Json] = lambda _: {}
    """Makes further keys, for readers of the JSON: what follows from the fields."""


class Codec:
    """Takes values apart and puts them together; both ways by the same shapes."""

    def __init__(self, shapes: Mapping[type, Shape]) -> None:
        self._shapes = shapes

    def encode(self, value: Any) -> Any:
        """Returns a value as JSON types.

        It knows dataclasses, named tuples, tuples, mappings, enums, histograms and numbers.
        """
        if isinstance(value, Histogram):
            return value.to_json()
        if dataclasses.is_dataclass(value):
            return self._encode_fields(value)
        if isinstance(value, Mapping):
            return {key: self.encode(one) for key, one in value.items()}
        if isinstance(value, tuple):
            if hasattr(value, "_asdict"):
                return {key: self.encode(one) for key, one in value._asdict().items()}
            return [self.encode(one) for one in value]
        return value.value if isinstance(value, Enum) else value

    def _encode_fields(self, value: Any) -> Json:
        kind: Any = type(value)
        shape = self._shape(kind)
        told: Json = {}
        for name in _hints(kind):
            field = getattr(value, name)
            if name in shape.merged:
                told |= self.encode(field)
            elif name in shape.hexadecimal and field is not None:
                told[shape.names.get(name, name)] = hex(field)
            elif field is not None or name in shape.null:
                # Most are plain; to ask encode() about each took half as long again.
                told[shape.names.get(name, name)] = field if type(field) in _PLAIN else self.encode(field)
        return told | shape.more(value)

    def decode(self, kind: Any, told: Any) -> Any:
        """Returns the value of the type `kind` that encode() told of.

        Keys that are not known are passed over.

        Raises:
            ValueError: A key is missing, or a value is not of its type.
        """
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is None:
            return self._decode_one(kind, told)
        if origin in (types.UnionType, typing.Union):
            (known,) = (a for a in arguments if a is not types.NoneType)
            return None if told is None else self.decode(known, told)
        if origin is tuple:
            return tuple(self.decode(arguments[0], one) for one in _as(list, told))
        key, value = arguments
        return {self.decode(key, k): self.decode(value, v) for k, v in _as(dict, told).items()}

    def _decode_one(self, kind: Any, told: Any) -> Any:
        if kind is Histogram:
            return Histogram.from_json(_as(dict, told))
        if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
            return self._decode_fields(kind, _as(dict, told))
        if issubclass(kind, Enum):
            return kind(told)
        return float(_as((int, float), told)) if kind is float else _as(kind, told)

    def _decode_fields(self, kind: Any, told: Json) -> Any:
        shape = self._shape(kind)
        found: Json = {}
        for name, hint in _hints(kind).items():
            key = shape.names.get(name, name)
            if name in shape.merged:
                found[name] = self.decode(hint, told)
            elif key in told:
                found[name] = (
                    _address(told[key]) if name in shape.hexadecimal else self.decode(hint, told[key])
                )
            elif types.NoneType in typing.get_args(hint):
                found[name] = None
        try:
            return kind(**found)
        except TypeError as error:  # the key of a field that has no default is missing
            raise ValueError(str(error)) from None

    def _shape(self, kind: type) -> Shape:
        return self._shapes.get(kind, _AS_IT_IS)


_AS_IT_IS = Shape()
_PLAIN = frozenset({int, str, float, bool})


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    """Returns the types by field, in the order of the fields."""
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name in getattr(kind, "__match_args__", hints)}


def _as(kind: type[_T] | tuple[type[_T], ...], told: Any) -> _T:
    if not isinstance(told, kind) or (isinstance(told, bool) and kind is not bool):
        raise ValueError(f"{told!r} is not of the type that belongs there")
    return told


def _address(told: Any) -> int:
    return int(_as(str, told), 16)
