"""Declares every function of C that kmemtrace calls, with its types.

A function that ctypes knows no types of gets each argument as a C int: a pointer is cut to 32 bits. That goes
unnoticed as long as the heap lies low, as below an executable at a fixed address (Debian's Python), and
crashes under one that is position-independent (most others). So libraries are opened here and nowhere else,
and a function that is not declared here cannot be called.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import c_char_p, c_int, c_int32, c_int64, c_long, c_size_t, c_uint, c_uint32, c_uint64, c_ulong
from functools import cache
from types import ModuleType
from typing import Any

from kmemtrace.errors import CannotError

_ROOM = 1 << 25
"""Bytes that read_whole() has room for at first; those that it does not need take no memory."""
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_environment = threading.RLock()
_pointer = ctypes.c_void_p

Prototypes = Mapping[str, tuple[Any, ...]]
"""By a function's name: the type of the result (None for none), then those of the arguments."""

_M_ARENA_MAX = -8
"""Of mallopt(), in glibc's malloc.h."""

LIBC: Prototypes = {
    "capget": (c_int, _pointer, _pointer),
    "capset": (c_int, _pointer, _pointer),
    "fclose": (c_int, _pointer),
    "fdopen": (_pointer, c_int, c_char_p),
    "ferror": (c_int, _pointer),
    "fread": (c_size_t, _pointer, c_size_t, c_size_t, _pointer),
    "open_by_handle_at": (c_int, c_int, c_char_p, c_int),
    "prctl": (c_int, c_int, c_ulong, c_ulong, c_ulong, c_ulong),
    "syscall": (c_long, c_long, c_long, c_long, c_long, c_long, c_long),
}

GLIBC: Prototypes = {"malloc_trim": (c_int, c_size_t), "mallopt": (c_int, c_int, c_int)}
"""What other C libraries do not have."""

LIBBPF: Prototypes = {
    "bpf_map_delete_elem": (c_int, c_int, _pointer),
    "bpf_map_get_next_key": (c_int, c_int, _pointer, _pointer),
    "bpf_map_lookup_batch": (c_int, c_int, *[_pointer] * 6),
    "bpf_map_lookup_elem": (c_int, c_int, _pointer, _pointer),
    "bpf_map_update_elem": (c_int, c_int, _pointer, _pointer, c_uint64),
    "bpf_obj_get_info_by_fd": (c_int, c_int, _pointer, _pointer),
    "bpf_prog_test_run_opts": (c_int, c_int, _pointer),
    "btf__find_by_name_kind": (c_int32, _pointer, c_char_p, c_uint32),
    "btf__find_str": (c_int, _pointer, c_char_p),
    "btf__free": (None, _pointer),
    "btf__load_vmlinux_btf": (_pointer,),
    "btf__name_by_offset": (c_char_p, _pointer, c_uint32),
    "btf__parse": (_pointer, c_char_p, _pointer),
    "btf__resolve_size": (c_int64, _pointer, c_uint32),
    "btf__type_by_id": (_pointer, _pointer, c_uint32),
    "libbpf_get_error": (c_long, _pointer),
    "libbpf_set_print": (_pointer, _pointer),
    "ring_buffer__consume": (c_int, _pointer),
    "ring_buffer__free": (None, _pointer),
    "ring_buffer__new": (_pointer, c_int, _pointer, _pointer, _pointer),
}

LIBBCC: Prototypes = {
    "bpf_function_name": (c_char_p, _pointer, c_size_t),
    "bpf_num_functions": (c_size_t, _pointer),
    "bpf_num_tables": (c_size_t, _pointer),
    "bpf_table_fd_id": (c_int, _pointer, c_size_t),
    "bpf_table_flags_id": (c_int, _pointer, c_size_t),
    "bpf_table_key_size_id": (c_size_t, _pointer, c_size_t),
    "bpf_table_leaf_size_id": (c_size_t, _pointer, c_size_t),
    "bpf_table_max_entries_id": (c_size_t, _pointer, c_size_t),
    "bpf_table_name": (c_char_p, _pointer, c_size_t),
    "bpf_table_type_id": (c_int, _pointer, c_size_t),
}
"""Functions that we call ourselves; of most of them BCC's binding up to its newest release (0.37) declares no
types."""

BCCS_OWN: Prototypes = {
    "bcc_buildsymcache_new": (_pointer,),
    "bcc_free_memory": (c_int,),
    "bpf_attach_perf_event": (c_int, c_int, c_uint32, c_uint32, c_uint64, c_uint64, *[c_int] * 3),
    "bpf_attach_perf_event_raw": (c_int, c_int, _pointer, *[c_int] * 3, c_ulong),
    "bpf_close_perf_event_fd": (c_int, c_int),
    "bpf_has_kernel_btf": (ctypes.c_bool,),
    "bpf_lookup_and_delete": (c_int, c_int, _pointer, _pointer),
    "bpf_module_rw_engine_enabled": (ctypes.c_bool,),
    "bpf_prog_attach": (c_int, c_int, c_int, c_int, c_uint),
    "bpf_prog_detach2": (c_int, c_int, c_int, c_int),
}
"""Functions that the binding calls and declares no arguments of: mostly it misspells `argtypes`."""


Taker = ctypes.CFUNCTYPE(c_int, _pointer, _pointer, c_size_t)
"""What ring_buffer__consume() calls with each record: a context of ours, its address and its size."""


class Library:
    """The declared functions of a shared library; after each call ctypes.get_errno() has its errno."""

    def __init__(self, library: ctypes.CDLL, prototypes: Prototypes) -> None:
        for name, (result, *arguments) in prototypes.items():
            prototype = ctypes.CFUNCTYPE(result, *arguments, use_errno=True)
            setattr(self, name, prototype((name, library)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not declared in {__name__}")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Lets numpy, where it is imported, not prepare its library for linear algebra to use each CPU.

    Nothing of ours uses that; it takes memory for each CPU, and ends the process where it gets none. What a
    command is run with is none of our business: the environment is as it was afterwards.
    """
    with _environment:
        given = os.environ.get(_BLAS_THREADS)
        os.environ[_BLAS_THREADS] = "1"
        try:
            yield
        finally:
            if given is None:
                del os.environ[_BLAS_THREADS]
            else:
                os.environ[_BLAS_THREADS] = given


@cache
def libc() -> Library:
    return Library(ctypes.CDLL(None, use_errno=True), LIBC)


def _glibc() -> Library:
    """Raises AttributeError where it is another C library."""
    return Library(ctypes.CDLL(None), GLIBC)


def read_whole(file: int) -> mmap.mmap:
    """Reads an open file from its begin, in one call of C; it has some bytes.

    The kernel gives a file of /proc in parts of 4 KB, and a thread that takes each of them in Python waits
    each time for the lock that other threads run under: beside imports 10 MB took 140 ms in place of 55.

    Raises:
        OSError: It cannot be read.
    """
    os.lseek(file, 0, os.SEEK_SET)
    stream = libc().fdopen(os.dup(file), b"rb")
    if not stream:
        raise OSError(ctypes.get_errno(), "fdopen")
    try:
        found, size = mmap.mmap(-1, _ROOM), 0
        while True:
            begin = ctypes.addressof(ctypes.c_char.from_buffer(found))
            size += libc().fread(begin + size, 1, len(found) - size, stream)
            if libc().ferror(stream):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if size < len(found):
                found.resize(size)
                return found
            found.resize(2 * size)
    finally:
        libc().fclose(stream)


def one_heap() -> None:
    """Has glibc serve all threads from one heap, before a second one runs.

    By itself it makes each its own, and what one of them frees the others have no use of: 10 MB of what the
    exporter took. As Python runs one thread at a time, they hardly wait for each other.
    """
    with suppress(AttributeError):  # another C library
        _glibc().mallopt(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Has glibc give the kernel back what was freed, which would stay in its heaps.

    That is 30 MB after a start, and 15 MB after a census.
    """
    with suppress(AttributeError):  # another C library
        _glibc().malloc_trim(0)


@cache
def libbpf() -> Library:
    """Opens libbpf 1.x (Debian 12 on) or 0.x (Ubuntu 22.04), silent; BCC brings it along.

    Raises:
        CannotError: It is not installed.
    """
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            found = Library(ctypes.CDLL(name, use_errno=True), LIBBPF)
        except OSError:
            continue
        # It would print to the user's screen what our own errors say.
        found.libbpf_set_print(None)
        return found
    raise CannotError(
        "libbpf is missing. Install the package libbpf1 (Debian, Ubuntu) or libbpf (Fedora, Arch)."
    )


def libbcc(bcc: ModuleType) -> Library:
    """Returns the functions that `bcc`, BCC's binding, has no method for, from its library."""
    return Library(bcc.libbcc.lib, LIBBCC)


def complete(bcc: ModuleType) -> None:
    """Gives the functions that `bcc`, BCC's binding, calls itself the types that it leaves out."""
    for name, (result, *arguments) in BCCS_OWN.items():
        function = getattr(bcc.libbcc.lib, name, None)
        if function is not None and function.argtypes is None:
            function.restype, function.argtypes = result, arguments
