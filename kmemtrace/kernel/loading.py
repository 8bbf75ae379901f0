"""Loads BPF programs with a system call of our own, whose error tells what the verifier said."""

import ctypes
import os
from dataclasses import dataclass

from kmemtrace.kernel.syscall import bpf

_PROG_LOAD = 5
_INSTRUCTION_SIZE = 8
_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of a program, by numbers of <linux/bpf.h>."""

    type: int
    attach_type: int = 0
    of_function: bool = False
    """Whether a program of this kind is loaded for one function, by its BTF id."""


KPROBE = Kind(2)
TRACEPOINT = Kind(5)
RAW_TRACEPOINT = Kind(17)
FENTRY = Kind(26, 24, of_function=True)
FEXIT = Kind(26, 25, of_function=True)


class LoadError(OSError):
    """The kernel did not accept a program."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(number, os.strerror(number))
        self.said = said
        """What the kernel's verifier said; empty where it did not come to that."""


class _Load(ctypes.Structure):
    """union bpf_attr of BPF_PROG_LOAD, as far as attach_btf_id (5.5)."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("debug_info", ctypes.c_uint64 * 4),
        ("line_info_cnt", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


def load(instructions: bytes, kind: Kind, name: str, target: int = 0) -> int:
    """Loads a program under the GPL.

    Args:
        instructions: The program's code.
        kind: What it is to be attached to.
        name: Its name, of which the kernel keeps 15 bytes.
        target: The BTF id of the function, for kinds that are of one.

    Returns:
        The program's descriptor.

    Raises:
        LoadError: The kernel does not accept it.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    load_ = _Load(
        prog_type=kind.type,
        insn_cnt=len(instructions) // _INSTRUCTION_SIZE,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(licence),
        prog_name=name[:15].encode(),
        expected_attach_type=kind.attach_type,
        attach_btf_id=target,
    )
    program = bpf(_PROG_LOAD, load_)
    if program >= 0:
        return program
    log = ctypes.create_string_buffer(_LOG_BYTES)
    load_.log_level, load_.log_size, load_.log_buf = 1, _LOG_BYTES, ctypes.addressof(log)
    again = bpf(_PROG_LOAD, load_)
    if again >= 0:
        return again
    raise LoadError(-program, log.value.decode(errors="replace"))
