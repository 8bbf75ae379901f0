"""The clock that the BPF programs read."""

import functools
import time
from pathlib import Path


def kernel_seconds() -> float:
    """Seconds of bpf_ktime_get_ns(): of CLOCK_MONOTONIC as it is outside any time namespace. A process in
    one sees that clock shifted, programs in the kernel do not."""
    return time.monotonic() - _shift()


@functools.cache
def _shift() -> float:
    return monotonic_shift(Path("/proc/self/timens_offsets"))


def monotonic_shift(offsets: Path) -> float:
    """Seconds by which a time namespace shifts CLOCK_MONOTONIC; 0 before Linux 5.6, or without
    CONFIG_TIME_NS.

    :param offsets: a process's /proc/PID/timens_offsets, a line of a clock's name, seconds and
        nanoseconds each; time_namespaces(7).
    """
    try:
        lines = offsets.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    for line in lines:
        clock, seconds, nanoseconds = line.split()
        if clock == "monotonic":
            return int(seconds) + int(nanoseconds) / 1e9
    return 0.0
