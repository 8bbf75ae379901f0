"""Calls bpf(2) and perf_event_open(2), for what BCC has no call for.

That is: may we, does fentry attach, and how often was a kprobe skipped?
"""

import ctypes
import errno
import platform

from kmemtrace.foreign import libc

_NUMBERS = {
    "x86_64": (321, 298),
    "aarch64": (280, 241),
    "riscv64": (280, 241),
    "loongarch64": (280, 241),
    "s390x": (351, 331),
    "ppc64le": (361, 319),
}
"""Numbers of the calls bpf and perf_event_open, by machine."""
_ANY_PROCESS, _NO_GROUP, _CLOSE_ON_EXEC = -1, -1, 8
_ARGUMENTS = 5


def bpf(command: int, attributes: ctypes.Structure | ctypes.Array[ctypes.c_uint32]) -> int:
    """Makes the system call bpf.

    Returns:
        The new file descriptor, or -errno; -ENOSYS on a machine whose system call number we do not know.
    """
    return _call(0, command, ctypes.addressof(attributes), ctypes.sizeof(attributes))


def perf_event_open(attributes: ctypes.Structure) -> int:
    """Makes the system call perf_event_open for all processes, as a probe needs it.

    Returns:
        The descriptor, or -errno as bpf() returns it.
    """
    cpu = 0  # a probe is hit on all of them, whichever is named
    return _call(1, ctypes.addressof(attributes), _ANY_PROCESS, cpu, _NO_GROUP, _CLOSE_ON_EXEC)


def _call(which: int, *arguments: int) -> int:
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        return -errno.ENOSYS
    padded = (*arguments, *[0] * (_ARGUMENTS - len(arguments)))
    fd = libc().syscall(numbers[which], *padded)
    return int(fd) if fd >= 0 else -ctypes.get_errno()
