"""Runs a BPF program when we want it, not when an event does (BPF_PROG_TEST_RUN, 5.10+)."""

import ctypes

from kmemtrace.foreign import libbpf


class _TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf, which checks `size`."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("context_in", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p),
        ("context_size_in", ctypes.c_uint32),
        ("context_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


_Arguments = ctypes.c_uint64 * 4
_SIZE = ctypes.sizeof(_TestRunOpts)


def test_run(program: int, *arguments: int) -> int:
    """Runs a raw tracepoint program once, with up to 4 raw arguments.

    Returns:
        What the program returns.

    Raises:
        OSError: It could not be run.
    """
    context = _Arguments(*arguments)
    options = _TestRunOpts(
        size=_SIZE,
        context_in=ctypes.addressof(context),
        context_size_in=ctypes.sizeof(context),
    )
    if libbpf().bpf_prog_test_run_opts(program, ctypes.byref(options)) != 0:
        raise OSError(ctypes.get_errno(), "a BPF program of ours could not be run")
    return int(options.retval)
