"""Holds programs as they were compiled, without a type of BCC's, and writes them as bytes that run no code.

So they can come from another process, or from a file of an earlier run. What is read is held against what can
be, field by field: a number that was damaged must not become a size or an offset.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from kmemtrace.kernel import making
from kmemtrace.kernel.instructions import loads_64
from kmemtrace.kernel.making import Shape

MOST_BYTES = 4 << 20
"""No programs of ours take more: 100 KB is what they do."""

_MAGIC = b"kmemtrace programs 1\n"
_INSTRUCTION = 8
_MAP_FD = 1
"""Source register of an instruction that loads a map's descriptor (BPF_PSEUDO_MAP_FD)."""
_NAME = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
_TYPES = (
    making.HASH,
    making.ARRAY,
    making.PERCPU_ARRAY,
    making.STACKS,
    making.LRU_HASH,
    making.RING,
)
_LARGEST = 1 << 31

Field = tuple[str, int, int]
"""Name, offset and size in bytes of a field."""


class NotCompiledError(ValueError):
    """These bytes are no programs of ours, or not whole."""


@dataclass(frozen=True, slots=True)
class Element:
    """Where the compiler put the fields of a map's key or value."""

    struct: str
    """Name of the struct, or of the number."""
    size: int
    fields: tuple[Field, ...]
    """Those of structs within it, in their place; one without a name where it is a number."""


@dataclass(frozen=True, slots=True)
class Map:
    shape: Shape
    elements: tuple[Element, Element] | None
    """Key and value; None for a ring buffer, which has neither."""


@dataclass(frozen=True, slots=True)
class Function:
    code: bytes
    """The instructions, with 0 for each map's descriptor."""
    maps: tuple[tuple[int, str], ...]
    """Index of each instruction that wants a map's descriptor, and the name of the map."""

    def with_maps(self, fds: Mapping[str, int]) -> bytes:
        """Returns the instructions with the descriptors of these maps."""
        code = bytearray(self.code)
        for index, name in self.maps:
            at = index * _INSTRUCTION + 4
            code[at : at + 4] = fds[name].to_bytes(4, sys.byteorder)
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Compiled:
    functions: Mapping[str, Function]
    maps: Mapping[str, Map]


def function(code: bytes, names: Mapping[int, str]) -> Function:
    """Returns a function whose code refers to maps by descriptor.

    Args:
        code: The instructions.
        names: Names of the maps, by descriptor.
    """
    blank, maps = bytearray(code), []
    for index in _references(code):
        at = index * _INSTRUCTION + 4
        maps.append((index, names[int.from_bytes(code[at : at + 4], sys.byteorder)]))
        blank[at : at + 4] = bytes(4)
    return Function(bytes(blank), tuple(maps))


def _references(code: bytes) -> Iterator[int]:
    """Yields the index of each instruction that wants a map's descriptor."""
    return (index for index, source in loads_64(code) if source == _MAP_FD)


def write(compiled: Compiled, key: str) -> bytes:
    """Returns the programs as bytes, for read() with the same key."""
    functions = [(name, len(one.code), one.maps) for name, one in compiled.functions.items()]
    maps = [
        (name, *_numbers(one.shape), one.elements and [(e.struct, e.size, e.fields) for e in one.elements])
        for name, one in compiled.maps.items()
    ]
    header = json.dumps({"key": key, "functions": functions, "maps": maps}).encode()
    code = b"".join(one.code for one in compiled.functions.values())
    body = len(header).to_bytes(4, "little") + header + code
    return _MAGIC + hashlib.sha256(body).digest() + body


def _numbers(shape: Shape) -> tuple[int, ...]:
    return shape.type, shape.key_size, shape.value_size, shape.entries, shape.flags


def read(data: bytes, key: str) -> Compiled:
    """Returns the programs that write() made these bytes of.

    Raises:
        NotCompiledError: It did not, or with another key.
    """
    begin = len(_MAGIC) + hashlib.sha256().digest_size
    body = data[begin:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : begin] != hashlib.sha256(body).digest():
        _refuse()
    size = int.from_bytes(body[:4], "little")
    try:
        header = json.loads(body[4 : 4 + size])
        if header["key"] != key:
            _refuse()
        maps = {_name(row[0]): _map(row[1:]) for row in header["maps"]}
        return Compiled(_functions(header["functions"], body[4 + size :], maps), maps)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise NotCompiledError(str(error)) from error


def _functions(rows: list[Any], code: bytes, maps: Mapping[str, Map]) -> dict[str, Function]:
    found, at = dict[str, Function](), 0
    for name, size, references in rows:
        if _number(size, MOST_BYTES) % _INSTRUCTION or not size:
            _refuse()
        one = Function(code[at : at + size], tuple((_number(i), _name(of)) for i, of in references))
        wanted = list(_references(one.code))
        if len(one.code) != size or [index for index, _ in one.maps] != wanted:
            _refuse()
        if any(of not in maps for _, of in one.maps):
            _refuse()
        found[_name(name)] = one
        at += size
    if at != len(code):
        _refuse()
    return found


def _map(row: list[Any]) -> Map:
    *numbers, elements = row
    shape = Shape(*map(_number, numbers))
    if shape.type not in _TYPES:
        _refuse()
    if elements is None:
        return Map(shape, None)
    key, value = map(_element, elements)
    return Map(shape, (key, value))


def _element(row: list[Any]) -> Element:
    struct, size, fields = row
    read_ = tuple((str(name), _number(at), _number(length)) for name, at, length in fields)
    return Element(str(struct), _number(size), read_)


def _number(value: Any, most: int = _LARGEST) -> int:
    if type(value) is not int or not 0 <= value <= most:
        _refuse()
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        _refuse()
    return value


def _refuse() -> NoReturn:
    raise NotCompiledError("these bytes are no programs of ours")
