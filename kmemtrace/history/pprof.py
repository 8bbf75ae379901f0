"""Writes call sites as pprof's protobuf, gzipped: what pprof, Pyroscope, Parca and Grafana take.

The few fields of its messages that are needed are written here: github.com/google/pprof, proto/profile.proto.
"""

import gzip
from collections.abc import Iterable, Sequence

from kmemtrace.history.samples import Sample, Value
from kmemtrace.printable import printable
from kmemtrace.text import function

_VARINT, _BYTES = 0, 2
_MAPPING = 1
"""Id of the only mapping: the kernel."""


def pprof(found: Sequence[Sample], *, begin: float, end: float, page_size: int, comment: str) -> bytes:
    """Writes a profile with three values for each call site, and its cgroup, kind and state as labels.

    Args:
        found: The call sites.
        begin: When the range begins, in seconds since the epoch.
        end: When it ends.
        page_size: Bytes of a page: the least that is charged.
        comment: What is told of the profile.
    """
    table = _Table()
    types = [_value_type(table, value.value, "bytes") for value in Value]
    samples = [_sample(table, one) for one in found]
    mapping = _number(1, _MAPPING) + _number(5, table.text("[kernel.kallsyms]")) + _number(7, 1)
    period, default = _value_type(table, "space", "bytes"), table.text(Value.HELD.value)
    told = table.text(comment)
    parts = [
        *(_message(1, one) for one in types),
        *(_message(2, one) for one in samples),
        _message(3, mapping),
        *(_message(4, one) for one in table.locations),
        *(_message(5, one) for one in table.functions),
        *(_message(6, one.encode("utf-8", "replace")) for one in table.texts),
        _number(9, int(begin * 1e9)),
        _number(10, int((end - begin) * 1e9)),
        _message(11, period),
        _number(12, page_size),
        _packed(13, [told]),
        _number(14, default),
    ]
    return gzip.compress(b"".join(parts), mtime=0)


class _Table:
    """Numbers what samples name: texts from 0, functions and locations from 1."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {"": 0}
        self.functions: list[bytes] = []
        self.locations: list[bytes] = []
        self._functions: dict[str, int] = {}
        self._locations: dict[str, int] = {}

    def text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))

    def location(self, frame: str) -> int:
        """Returns the id of a frame's location: a place in a function, whose address is not kept."""
        known = self._locations.get(frame)
        if known is None:
            known = self._locations[frame] = len(self._locations) + 1
            line = _number(1, self._function(function(frame)))
            self.locations.append(_number(1, known) + _number(2, _MAPPING) + _message(4, line))
        return known

    def _function(self, name: str) -> int:
        known = self._functions.get(name)
        if known is None:
            known = self._functions[name] = len(self._functions) + 1
            text = self.text(name)
            self.functions.append(_number(1, known) + _number(2, text) + _number(3, text))
        return known


def _sample(table: _Table, one: Sample) -> bytes:
    frames = one.stack or (one.symbol,)
    labels = {"cgroup": printable(one.cgroup), "kind": one.kind, "state": one.state}
    return b"".join(
        [
            _packed(1, (table.location(frame) for frame in frames)),
            _packed(2, (one.value(value) for value in Value)),
            *(
                _message(3, _number(1, table.text(name)) + _number(2, table.text(value)))
                for name, value in labels.items()
            ),
        ]
    )


def _value_type(table: _Table, type_: str, unit: str) -> bytes:
    return _number(1, table.text(type_)) + _number(2, table.text(unit))


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # as int64 has what is less than 0
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _number(field: int, number: int) -> bytes:
    # What is 0 is not written, as proto3 has it.
    return _varint(field << 3 | _VARINT) + _varint(number) if number else b""


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _packed(field: int, numbers: Iterable[int]) -> bytes:
    return _message(field, b"".join(map(_varint, numbers)))
