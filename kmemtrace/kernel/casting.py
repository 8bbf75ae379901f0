"""Finds out how programs can load the kernel's memory themselves, where a helper's call is most of a read."""

import os
import struct
import sys
from dataclasses import dataclass

from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.loading import RAW_TRACEPOINT, LoadError, load

_FUNCTION = "bpf_rdonly_cast"
"""Since 6.2 (a35b9af4ec2c): has the verifier take any number for the address of a struct. A load from there
gives 0 where there is no memory, as the helper does."""
_STRUCT = "page"
"""Begins with a word, of which programs read 8 bytes or 4."""
_OF_KERNEL = 2
"""Source register of a call whose number is a kernel function's BTF id (BPF_PSEUDO_KFUNC_CALL)."""
_CALL = 0x85
_SIZE = 8


@dataclass(frozen=True, slots=True)
class Cast:
    """What makes a number an address, by BTF ids."""

    function: int
    struct: int


def find_cast(btf: Btf) -> Cast | None:
    """Returns what this kernel has programs load memory by; None where they need a helper.

    It is tried: a kernel that runs programs without compiling them refuses to have its functions called.
    """
    function, type_ = btf.function_id(_FUNCTION), btf.struct_id(_STRUCT)
    if function is None or type_ is None:
        return None
    try:
        os.close(load(_program(function, type_), RAW_TRACEPOINT, "try_cast"))
    except (LoadError, OSError):
        return None
    return Cast(function, type_)


def calling(code: bytes, function: int) -> bytes:
    """Returns instructions whose calls of this number are calls of the kernel's function.

    Compilers know none but helpers' calls; no helper has as high a number as a function's BTF id.
    """
    found = bytearray(code)
    call = _call(function)
    at = code.find(call)
    while at >= 0:
        if at % _SIZE == 0:
            found[at + 1] = _OF_KERNEL << 4
        at = code.find(call, at + 1)
    return bytes(found)


def _call(function: int) -> bytes:
    return struct.pack("<BBhi" if sys.byteorder == "little" else ">BBhi", _CALL, 0, 0, function)


def _program(function: int, type_: int) -> bytes:
    """Returns a program that loads 8 bytes from where its context is."""
    instructions = (
        struct.pack("=BBhi", 0xB7, 2, 0, type_),  # r2 = type
        _call(function),
        struct.pack("=BBhi", 0x79, 0, 0, 0),  # r0 = *(u64 *)(r0 + 0)
        struct.pack("=BBhi", 0xB7, 0, 0, 0),  # r0 = 0
        struct.pack("=BBhi", 0x95, 0, 0, 0),  # exit
    )
    return calling(b"".join(instructions), function)
