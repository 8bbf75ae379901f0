"""bpf(2), for the two questions that BCC has no call for: may we, and does fentry attach?"""

import ctypes
import errno
import platform

_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "s390x": 351,
    "ppc64le": 361,
}


def bpf(command: int, attributes: ctypes.Structure | ctypes.Array[ctypes.c_uint32]) -> int:
    """The new file descriptor, or -errno; -ENOSYS on a machine whose system call number we do not
    know."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return -errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    return int(fd) if fd >= 0 else -ctypes.get_errno()
