"""Objects of the kernel that a workload makes, beside those of workloads.py."""

import ctypes
import mmap
import os

from kmemtrace.kernel.syscall import bpf
from kmemtrace.tracer.maps import possible_cpus

HASH, PERCPU_HASH, PERCPU_ARRAY = 1, 5, 6
NO_PREALLOC = 1
_MAP_CREATE, _MAP_UPDATE = 0, 2


def memory_maps(count: int) -> mmap.mmap:
    """Every second page with other rights: so many areas."""
    area = mmap.mmap(-1, 2 * count * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    begin = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for number in range(count):
        at = ctypes.c_void_p(begin + 2 * number * mmap.PAGESIZE)
        assert protect(at, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ) == 0
    return area


def bpf_map(kind: int, entries: int, flags: int = 0, *, value_bytes: int = 64, fill: int = 0) -> int:
    """A BPF map with so many values set; its descriptor."""
    descriptor = bpf(_MAP_CREATE, (ctypes.c_uint32 * 32)(kind, 4, value_bytes, entries, flags))
    assert descriptor >= 0, os.strerror(-descriptor)
    value = ctypes.create_string_buffer(value_bytes * possible_cpus())  # as much as a per-CPU map takes
    for number in range(fill):
        key = ctypes.c_uint32(number)
        attributes = (ctypes.c_uint64 * 16)(descriptor, ctypes.addressof(key), ctypes.addressof(value), 0)
        result = bpf(_MAP_UPDATE, ctypes.cast(attributes, ctypes.POINTER(ctypes.c_uint32 * 32)).contents)
        assert result == 0, os.strerror(-result)
    return descriptor
