"""Makes BPF maps with a system call of our own."""

import ctypes
import os
from dataclasses import dataclass

from kmemtrace.kernel.syscall import bpf

HASH, ARRAY, PERCPU_ARRAY, STACKS, LRU_HASH, RING = 1, 2, 6, 7, 9, 27
"""Types of maps, as <linux/bpf.h> numbers them."""

_MAP_CREATE = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the kernel is told of a map that it makes."""

    type: int
    key_size: int
    value_size: int
    entries: int
    flags: int = 0


class _Create(ctypes.Structure):
    """union bpf_attr of BPF_MAP_CREATE, as far as map_name (4.15)."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("type", "key_size", "value_size", "entries", "flags")),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


def make_map(shape: Shape, name: str = "") -> int:
    """Makes a map.

    Args:
        shape: Its type, sizes and flags.
        name: Its name, of which the kernel keeps 15 bytes.

    Returns:
        The map's descriptor: it is gone when that is closed and no program uses it.

    Raises:
        OSError: The kernel refuses.
    """
    asked = _Create(
        type=shape.type,
        key_size=shape.key_size,
        value_size=shape.value_size,
        entries=shape.entries,
        flags=shape.flags,
        name=name[:15].encode(),
    )
    fd = bpf(_MAP_CREATE, asked)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd
