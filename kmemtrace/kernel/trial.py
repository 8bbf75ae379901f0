"""Tries on this kernel what the programs do, with maps of one entry and a program of ten instructions.

That takes some milliseconds, and what is refused here would be refused after the compiler has run.
"""

import os
import resource
from contextlib import ExitStack

from kmemtrace.kernel import making
from kmemtrace.kernel.attaching import attach
from kmemtrace.kernel.instructions import call, instruction
from kmemtrace.kernel.loading import RAW_TRACEPOINT, load
from kmemtrace.kernel.making import Shape, make_map
from kmemtrace.kernel.refusals import refusing
from kmemtrace.kernel.test_run import test_run

_MAPS = {
    "a BPF hash map": Shape(making.HASH, 8, 8, 1),
    "a BPF array": Shape(making.ARRAY, 4, 8, 1),
    "a per-CPU BPF array": Shape(making.PERCPU_ARRAY, 4, 8, 1),
    "a BPF map of stacks": Shape(making.STACKS, 4, 8, 1),
    "a BPF map that forgets (LRU)": Shape(making.LRU_HASH, 8, 8, 1),
    "a BPF ring buffer": Shape(making.RING, 0, 0, resource.getpagesize()),
}

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
                close(make_map(shape))
        with refusing("a BPF program that reads its memory"):
            program = close(load(_program(), RAW_TRACEPOINT, "try"))
        with refusing("to run a BPF program"):
            test_run(program)
        with refusing("a BPF program on a tracepoint"):
            close(attach(program, _TRACEPOINT))


def _program() -> bytes:
    """Returns a program that reads 8 bytes of the current task, and a string there, onto its stack."""
    return b"".join(
        (
            call(_GET_CURRENT_TASK),
            instruction(0xBF, 6, 0),  # r6 = r0
            *_read(_PROBE_READ_KERNEL),
            *_read(_PROBE_READ_KERNEL_STR),
            instruction(0xB7, 0),  # r0 = 0
            instruction(0x95),  # exit
        )
    )


def _read(helper: int) -> tuple[bytes, ...]:
    """Returns the instructions of helper(r10 - 8, 8, r6)."""
    return (
        instruction(0xBF, 1, 10),
        instruction(0x07, 1, value=-8),
        instruction(0xB7, 2, value=8),
        instruction(0xBF, 3, 6),
        call(helper),
    )
