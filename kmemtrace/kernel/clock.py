"""Tells the time by the clock that the BPF programs read."""

import functools
import time
from pathlib import Path


def kernel_seconds() -> float:
    """Returns the seconds of bpf_ktime_get_ns(): CLOCK_MONOTONIC as it is outside any time namespace.

    A process in one sees that clock shifted, programs in the kernel do not.
    """
    return time.monotonic() - _shift()


@functools.cache
def _shift() -> float:
    return monotonic_shift(Path("/proc/self/timens_offsets"))


def monotonic_shift(offsets: Path) -> float:
    """Returns by how many seconds a time namespace shifts CLOCK_MONOTONIC.

    Args:
        offsets: A process's /proc/PID/timens_offsets, a line of a clock's name, seconds and nanoseconds each;
            time_namespaces(7).

    Returns:
        The seconds; 0 before Linux 5.6, or without CONFIG_TIME_NS.
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
