"""The distribution's libbpf, which BCC brings along."""

import ctypes
from functools import cache

from kmemtrace.errors import CannotError


@cache
def libbpf() -> ctypes.CDLL:
    """libbpf 1.x (Debian 12 on) or 0.x (Ubuntu 22.04), silent.

    Raises CannotError where it is not installed.
    """
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            lib = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        # It would print to the user's screen what our own errors say.
        lib.libbpf_set_print.argtypes = [ctypes.c_void_p]
        lib.libbpf_set_print(None)
        return lib
    raise CannotError(
        "libbpf is missing. Install the package libbpf1 (Debian, Ubuntu) or libbpf (Fedora, Arch)."
    )
