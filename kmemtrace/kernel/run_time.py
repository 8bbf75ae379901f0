"""Has the kernel count how often and how long BPF programs run: a switch of the whole machine."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from kmemtrace.errors import CannotError
from kmemtrace.kernel.syscall import bpf

_BPF_ENABLE_STATS, _BPF_STATS_RUN_TIME = 32, 0
"""Numbers of <linux/bpf.h>, from 5.8 on (d46edd671a14)."""


@contextlib.contextmanager
def counting() -> Iterator[None]:
    """Turns the counting on, and at the end puts it back as it was.

    Raises:
        CannotError: The kernel refuses.
    """
    fd = bpf(_BPF_ENABLE_STATS, (ctypes.c_uint32 * 1)(_BPF_STATS_RUN_TIME))
    if fd < 0:
        raise CannotError(
            f"The run time of BPF programs cannot be counted: {os.strerror(-fd)}. It takes Linux 5.8 and "
            "CAP_SYS_ADMIN; leave --program-stats out."
        )
    try:
        yield
    finally:
        os.close(fd)


def counted(*, asked: bool, switch: Path = Path("/proc/sys/kernel/bpf_stats_enabled")) -> bool:
    """Returns whether the kernel counts, because we asked for it or somebody else turned it on for good."""
    if asked:
        return True
    with contextlib.suppress(OSError):
        return switch.read_text(encoding="ascii").strip() == "1"
    return False
