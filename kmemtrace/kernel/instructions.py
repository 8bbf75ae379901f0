"""Finds out which instructions the kernel takes that not all do, each is tried; and changes compiled ones.

A load of the kernel's memory, where a helper's call is most of a read; and a compare-and-exchange, by which
two programs agree on who has a record.
"""

import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.loading import RAW_TRACEPOINT, load

_FUNCTION = "bpf_rdonly_cast"
"""Since 6.2 (a35b9af4ec2c): has the verifier take any number for the address of a struct. A load from there
gives 0 where there is no memory, as the helper does."""
_STRUCT = "page"
"""Begins with a word, of which programs read 8 bytes or 4."""
_OF_KERNEL = 2
"""Source register of a call whose number is a kernel function's BTF id (BPF_PSEUDO_KFUNC_CALL)."""
_TYPED_TASK = 158
"""bpf_get_current_task_btf(), since 5.11 (3ca1032ab7ab): a task of which the verifier knows what it is."""
_CALL, _EXIT = 0x85, 0x95
_LOAD_64 = 0x18
"""Loads 64 bits, and takes the place of two instructions."""
_NUMBER = 0
"""Source register of one that loads a number, and not what has that number."""
_SOURCE_SHIFT = 4 if sys.byteorder == "little" else 0
"""Both registers share a byte, as bit fields of C: the source is its upper half on little-endian machines."""
_SIZE = 8
_HALF = struct.Struct("=I")


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
    return Cast(function, type_) if _takes(_loading(function, type_)) else None


def typed_task(at: Sequence[int]) -> int | None:
    """Returns the helper that gives programs a task that they can load from; None where there is none.

    Args:
        at: Where it and what it leads to have the pointers that are followed, and the last of them a word.
    """
    loads = [instruction(0x79, source=0, offset=offset) for offset in at]  # r0 = *(u64 *)(r0 + offset)
    return _TYPED_TASK if _takes([call(_TYPED_TASK), *loads, instruction(0xB7), instruction(_EXIT)]) else None


def exchanges() -> bool:
    """Returns whether programs can compare and exchange (5.12: 5ffa25502b5a)."""
    return _takes(
        (
            instruction(0x7A, 10, offset=-8),  # *(u64 *)(r10 - 8) = 0
            instruction(0xB7, 0),  # r0 = 0
            instruction(0xB7, 1, value=1),  # r1 = 1
            instruction(0xDB, 10, 1, -8, 0xF1),  # r0 = cmpxchg(r10 - 8, r0, r1)
            instruction(0xB7, 0),
            instruction(_EXIT),
        )
    )


def _takes(instructions: Sequence[bytes]) -> bool:
    try:
        os.close(load(b"".join(instructions), RAW_TRACEPOINT, "try"))
    except OSError:
        return False
    return True


def calling(code: bytes, function: int) -> bytes:
    """Returns instructions whose calls of this number are calls of the kernel's function.

    Compilers know none but helpers' calls; no helper has as high a number as a function's BTF id.
    """
    found = bytearray(code)
    wanted = call(function)
    at = code.find(wanted)
    while at >= 0:
        if at % _SIZE == 0:
            found[at + 1] = _OF_KERNEL << 4
        at = code.find(wanted, at + 1)
    return bytes(found)


def putting_in(code: bytes, numbers: Mapping[int, int]) -> bytes:
    """Returns instructions that load other numbers.

    Args:
        code: The instructions.
        numbers: By a number of 64 bits that is loaded, the one to load in its place.
    """
    found = bytearray(code)
    for index, source in loads_64(code):
        low, high = index * _SIZE + 4, index * _SIZE + 12
        was = _HALF.unpack_from(code, low)[0] | _HALF.unpack_from(code, high)[0] << 32
        if source == _NUMBER and was in numbers:
            _HALF.pack_into(found, low, numbers[was] & 0xFFFFFFFF)
            _HALF.pack_into(found, high, numbers[was] >> 32)
    return bytes(found)


def loads_64(code: bytes) -> Iterator[tuple[int, int]]:
    """Yields index and source register of each instruction that loads 64 bits."""
    index = 0
    while index * _SIZE < len(code):
        first, registers = code[index * _SIZE : index * _SIZE + 2]
        if first == _LOAD_64:
            yield index, registers >> _SOURCE_SHIFT & 15
        index += 2 if first == _LOAD_64 else 1


def call(function: int) -> bytes:
    """Returns the call of a helper, by its number."""
    return instruction(_CALL, value=function)


def _loading(function: int, type_: int) -> Sequence[bytes]:
    """Returns a program that loads 8 bytes from where its context is."""
    return (
        instruction(0xB7, 2, value=type_),  # r2 = type
        calling(call(function), function),
        instruction(0x79),  # r0 = *(u64 *)(r0 + 0)
        instruction(0xB7, 0),
        instruction(_EXIT),
    )


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """Returns a struct bpf_insn."""
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)
