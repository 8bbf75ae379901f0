"""Reads the kernel's own description of its types (BTF), with libbpf, which BCC brings along.

It reads only what the Plan asks: where a field lies, what a tracepoint's or a function's prototype is, what
an enumerator's value is. Layouts are those of <linux/btf.h>, a stable interface.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from kmemtrace.errors import CannotError
from kmemtrace.foreign import libbpf
from kmemtrace.limits import shortages

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF = range(1, 9)
_VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO = range(9, 14)
_VAR, _DATASEC = 14, 15
_TYPE_TAG, _ENUM64 = 18, 19
_INFO_AT = 4
"""Offset in struct btf_type of the word that has its kind."""
_MODIFIERS = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})


class _Type(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32))

    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x1F

    @property
    def vlen(self) -> int:
        return int(self.info) & 0xFFFF

    @property
    def kind_flag(self) -> bool:
        return bool(int(self.info) >> 31)


class _Triple(ctypes.Structure):
    """struct btf_member, struct btf_enum64 and struct btf_var_secinfo: three words."""

    _fields_ = (("name", ctypes.c_uint32), ("a", ctypes.c_uint32), ("b", ctypes.c_uint32))


class _Pair(ctypes.Structure):
    """struct btf_param, and struct btf_enum: two words."""

    _fields_ = (("name", ctypes.c_uint32), ("a", ctypes.c_uint32))


class Parameter(NamedTuple):
    """One parameter of a function or tracepoint.

    Its name is "" where BTF has none, as in a tracepoint's; its type is as C writes it, without qualifiers.
    """

    name: str
    type: str


class Btf:
    """The types of one kernel; every look-up returns None for what this kernel does not have."""

    def __init__(self, path: Path | None = None) -> None:
        """Reads `path`, or the running kernel's BTF where libbpf finds it.

        Raises:
            CannotError: There is no BTF, or it cannot be read; the message says what to do.
        """
        self._lib = libbpf()
        self._path = path or VMLINUX
        self._raw: bytes | None = None
        self._last_enum: int | None = None
        if path is None:
            self._btf = self._lib.btf__load_vmlinux_btf()
        else:
            self._btf = self._lib.btf__parse(str(path).encode(), None)
        if not self._btf or self._lib.libbpf_get_error(self._btf):
            self._btf = None
            raise CannotError(_why_none(path or VMLINUX))

    def close(self) -> None:
        if self._btf:
            self._lib.btf__free(self._btf)
            self._btf = None
        self._raw = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def offset(self, struct: str, field: str) -> int | None:
        """Returns the offset of `field` in bytes.

        Dots lead into embedded structs, and anonymous ones are passed through, e.g. ("mem_cgroup",
        "css.cgroup").
        """
        type_id, total = self._find(struct, _STRUCT), 0
        for name in field.split("."):
            found = None if type_id is None else self._member(type_id, name)
            if found is None:
                return None
            total, type_id = total + found[0], self._resolve(found[1])
        return total

    def field_size(self, struct: str, field: str) -> int | None:
        """Returns the size in bytes of a direct field of `struct`."""
        type_id = self._find(struct, _STRUCT)
        found = None if type_id is None else self._member(type_id, field)
        return None if found is None else int(self._lib.btf__resolve_size(self._btf, found[1]))

    def bit(self, struct: str, field: str) -> int | None:
        """Returns at which bit of its 8 bytes a bit field begins, through anonymous members too."""
        type_id = self._find(struct, _STRUCT)
        found = None if type_id is None else self._member_bits(type_id, field)
        return None if found is None else found[0] % 64

    def percpu_offset(self, variable: str) -> int | None:
        """Returns the place of a per-CPU variable among the others (in BTF from 5.16 or so on)."""
        type_id, section = self._find(variable, _VAR), self._find(".data..percpu", _DATASEC)
        if type_id is None or section is None:
            return None
        places = (entry.a for entry in self._entries(section, _Triple) if entry.name == type_id)
        return next(places, None)

    def size(self, struct: str) -> int | None:
        type_id = self._find(struct, _STRUCT)
        return None if type_id is None else int(self._type(type_id).size)

    def struct_id(self, struct: str) -> int | None:
        """Returns the BTF id of a struct."""
        return self._find(struct, _STRUCT)

    def tracepoint(self, name: str) -> tuple[Parameter, ...] | None:
        """Returns the raw arguments of a tracepoint, from the typedef btf_trace_<name> (5.5+)."""
        type_id = self._find(f"btf_trace_{name}", _TYPEDEF)
        if type_id is None:
            return None
        pointer = self._type(self._resolve(type_id))
        return self._parameters(self._resolve(pointer.size))[1:]  # the first is void *__data

    def function(self, name: str) -> tuple[Parameter, ...] | None:
        """Returns the parameters of a function that BTF describes."""
        type_id = self._find(name, _FUNC)
        return None if type_id is None else self._parameters(self._type(type_id).size)

    def function_id(self, name: str) -> int | None:
        """Returns the BTF id of a function, which is what a fentry program is attached to."""
        return self._find(name, _FUNC)

    def enumerator(self, name: str, enum: str | None = None) -> int | None:
        """Returns the value of an enumerator: of the enum called `enum`, or of whichever has it."""
        if enum is not None:
            type_id = self._find(enum, _ENUM)
            return None if type_id is None else self._value(type_id, name)
        if not self._has_string(name):
            return None  # spares a walk of all types, which takes 0.6 s
        # Whoever asks for one of an enum without a name asks for its neighbours next.
        value = None if self._last_enum is None else self._value(self._last_enum, name)
        if value is not None:
            return value
        type_id = 1
        while address := self._lib.btf__type_by_id(self._btf, type_id):
            # A struct of ctypes for each type would take twice as long.
            kind = ctypes.c_uint32.from_address(address + _INFO_AT).value >> 24 & 31
            value = self._value(type_id, name) if kind in (_ENUM, _ENUM64) else None
            if value is not None:
                self._last_enum = type_id
                return value
            type_id += 1
        return None

    def _has_string(self, text: str) -> bool:
        """Returns whether anything may be called so.

        libbpf can tell, but first copies and hashes all strings, which takes 60 ms.
        """
        if self._raw is None:
            self._raw = self._path.read_bytes() if self._path.exists() else b""
        if not self._raw:  # libbpf knows other places
            return int(self._lib.btf__find_str(self._btf, text.encode())) >= 0
        return b"\0%s\0" % text.encode() in self._raw

    def _find(self, name: str, kind: int) -> int | None:
        found = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return found if found > 0 else None

    def _type(self, type_id: int) -> _Type:
        return _Type.from_address(self._lib.btf__type_by_id(self._btf, type_id))

    def _name(self, offset: int) -> str:
        text: bytes = self._lib.btf__name_by_offset(self._btf, offset) or b""
        return text.decode()

    def _resolve(self, type_id: int) -> int:
        """Returns the id of the type behind typedefs and qualifiers."""
        while self._type(type_id).kind in _MODIFIERS:
            type_id = self._type(type_id).size
        return type_id

    def _entries(self, type_id: int, entry: type[Any]) -> Iterator[Any]:
        head = self._type(type_id)
        first = ctypes.addressof(head) + ctypes.sizeof(_Type)
        yield from (entry * head.vlen).from_address(first)

    def _member(self, type_id: int, name: str) -> tuple[int, int] | None:
        """Returns (offset in bytes, type id) of a member, looked for in anonymous members too."""
        found = self._member_bits(type_id, name)
        return None if found is None else (found[0] // 8, found[1])

    def _member_bits(self, type_id: int, name: str) -> tuple[int, int] | None:
        """Returns (offset in bits, type id) of a member, looked for in anonymous members too."""
        head = self._type(type_id)
        if head.kind not in (_STRUCT, _UNION):
            return None
        for member in self._entries(type_id, _Triple):
            bits = member.b & 0xFFFFFF if head.kind_flag else member.b
            if self._name(member.name) == name:
                return bits, member.a
            if member.name == 0:
                inner = self._member_bits(self._resolve(member.a), name)
                if inner is not None:
                    return bits + inner[0], inner[1]
        return None

    def _value(self, type_id: int, name: str) -> int | None:
        head = self._type(type_id)
        if head.kind == _ENUM64:
            for entry in self._entries(type_id, _Triple):
                if self._name(entry.name) == name:
                    return int(entry.a) | int(entry.b) << 32
        if head.kind == _ENUM:
            for entry in self._entries(type_id, _Pair):
                if self._name(entry.name) == name:
                    return int(entry.a)
        return None

    def _parameters(self, proto: int) -> tuple[Parameter, ...]:
        return tuple(Parameter(self._name(p.name), self._spell(p.a)) for p in self._entries(proto, _Pair))

    def _spell(self, type_id: int) -> str:
        """Spells a type as C writes it, qualifiers left out: enough to compare prototypes."""
        if type_id == 0:
            return "void"
        head = self._type(type_id)
        if head.kind == _PTR:
            return self._spell(head.size) + " *"
        if head.kind in _MODIFIERS - {_TYPEDEF}:
            return self._spell(head.size)
        prefix = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _FWD: "struct "}
        return prefix.get(head.kind, "") + self._name(head.name)


def _why_none(path: Path) -> str:
    """Says why there is no BTF, which libbpf does not tell."""
    if not path.exists():
        return (
            "This kernel describes no types (no BTF at /sys/kernel/btf/vmlinux). Use a kernel built with "
            "CONFIG_DEBUG_INFO_BTF, as distributions' kernels from 5.10 on are."
        )
    help_ = next(iter(shortages()), "Install a newer libbpf: this one may not know all that is in it.")
    return f"The kernel's description of its types, {path}, cannot be read. {help_}"
