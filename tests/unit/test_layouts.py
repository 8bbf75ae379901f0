"""What is read of the BPF maps is held against what was compiled."""

import ctypes
from typing import Any

import numpy as np
import pytest

from kmemtrace.errors import CannotError
from kmemtrace.tracer.compiled import Element
from kmemtrace.tracer.compiler import element_of
from kmemtrace.tracer.layouts import check_layouts, difference, layouts
from kmemtrace.tracer.structs import CHARGE, INSPECTION


class Owner(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("objcg", "memcg", "cgroup")]


class Charge(ctypes.Structure):
    _fields_ = [
        ("owner", Owner),
        ("time", ctypes.c_uint64),
        ("order", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("stack", ctypes.c_int32),
    ]


def changed(*fields: tuple[str, Any]) -> type[ctypes.Structure]:
    """struct charge with other fields behind its owner."""
    return type("charge", (ctypes.Structure,), {"_fields_": [("owner", Owner), *fields]})


U64, U32, U16 = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint16


def test_the_same_struct_is_no_difference() -> None:
    assert difference(element_of(Charge), CHARGE) is None
    assert difference(element_of(ctypes.c_uint64), np.dtype("u8")) is None


def test_an_array_of_structs_is_as_one_of_them() -> None:
    class Look(ctypes.Structure):
        _fields_ = [(name, U64) for name in INSPECTION.names or ()]

    many = type("looks", (ctypes.Structure,), {"_fields_": [("looks", Look * 7)]})
    assert difference(element_of(many), INSPECTION) is None
    assert difference(element_of(Look * 2), INSPECTION) is None, "as of a per-CPU map"


@pytest.mark.parametrize(
    ("struct", "said"),
    [
        (changed(("time", U64), ("order", U32), ("flags", U16), ("stack", U32)), "order has 4 bytes at 32"),
        (changed(("time", U64), ("flags", U16), ("order", U16), ("stack", U32)), "flags has 2 bytes at 32"),
        (changed(("time", U64), ("order", U16), ("flags", U16)), "the field stack is read, and is not there"),
        (
            changed(("time", U64), ("order", U16), ("flags", U16), ("stack", U32), ("more", U64)),
            "the field more is not read",
        ),
        (ctypes.c_uint64, "the field memcg is read, and is not there"),
    ],
    ids=["wider", "exchanged", "shorter", "longer", "no struct"],
)
def test_a_difference_names_the_field(struct: type[Any], said: str) -> None:
    found = difference(element_of(struct), CHARGE)
    assert found is not None
    assert said in found


class Compiled:
    def __init__(self, value: type[Any]) -> None:
        self._value = value

    def has_map(self, name: str) -> bool:
        return name == "pages"

    def elements(self, name: str) -> tuple[Element, Element]:
        assert name == "pages"
        return element_of(ctypes.c_uint64), element_of(self._value)


def test_what_does_not_fit_is_refused_in_words() -> None:
    check_layouts(Compiled(Charge), layouts(("lifetime",)))
    with pytest.raises(CannotError, match=r"value of the BPF map pages was compiled as struct charge.*order"):
        check_layouts(Compiled(changed(("time", U64), ("order", U32))), layouts(("lifetime",)))
