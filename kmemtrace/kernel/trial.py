"""Tries on this kernel what the programs do, with maps of one entry and a program of ten instructions.

That takes some milliseconds, and what is refused here would be refused after the compiler has run.
"""

import ctypes
import os
import resource
import struct
from contextlib import ExitStack

from kmemtrace.kernel.attaching import attach
from kmemtrace.kernel.loading import RAW_TRACEPOINT, load
from kmemtrace.kernel.refusals import refusing
from kmemtrace.kernel.syscall import bpf
from kmemtrace.kernel.test_run import test_run

_MAP_CREATE = 0
_MAPS = {
    "a BPF hash map": (1, 8, 8, 1),
    "a BPF array": (2, 4, 8, 1),
    "a per-CPU BPF array": (6, 4, 8, 1),
    "a BPF map of stacks": (7, 4, 8, 1),
    "a BPF map that forgets (LRU)": (9, 8, 8, 1),
    "a BPF ring buffer": (27, 0, 0, resource.getpagesize()),
}
"""Type, sizes of a key and a value, and entries."""

# Helpers, as <linux/bpf.h> numbers them.
_GET_CURRENT_TASK, _PROBE_READ_KERNEL, _PROBE_READ_KERNEL_STR = 35, 113, 115
_TRACEPOINT = b"cgroup_rmdir"
"""A tracepoint that is seldom hit."""


def try_bpf() -> None:
    """Tries maps, a program and a tracepoint.

    Raises:
        RefusedError: The kernel refuses this process something; it tells of the first such thing.
    """
    with ExitStack() as stack:

        def close(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        for what, shape in _MAPS.items():
            with refusing(what):
                close(_create(shape))
        with refusing("a BPF program that reads its memory"):
            program = close(load(_program(), RAW_TRACEPOINT, "try"))
        with refusing("to run a BPF program"):
            test_run(program)
        with refusing("a BPF program on a tracepoint"):
            close(attach(program, _TRACEPOINT))


def _create(shape: tuple[int, ...]) -> int:
    fd = bpf(_MAP_CREATE, (ctypes.c_uint32 * 32)(*shape))
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


def _program() -> bytes:
    """Returns a program that reads 8 bytes of the current task, and a string there, onto its stack."""
    return b"".join(
        (
            _call(_GET_CURRENT_TASK),
            _instruction(0xBF, 6, 0),  # r6 = r0
            *_read(_PROBE_READ_KERNEL),
            *_read(_PROBE_READ_KERNEL_STR),
            _instruction(0xB7, 0),  # r0 = 0
            _instruction(0x95),  # exit
        )
    )


def _read(helper: int) -> tuple[bytes, ...]:
    """Returns the instructions of helper(r10 - 8, 8, r6)."""
    return (
        _instruction(0xBF, 1, 10),
        _instruction(0x07, 1, value=-8),
        _instruction(0xB7, 2, value=8),
        _instruction(0xBF, 3, 6),
        _call(helper),
    )


def _call(helper: int) -> bytes:
    return _instruction(0x85, value=helper)


def _instruction(code: int, to: int = 0, source: int = 0, value: int = 0) -> bytes:
    """Returns a struct bpf_insn, without an offset."""
    return struct.pack("<BBhi", code, source << 4 | to, 0, value)
