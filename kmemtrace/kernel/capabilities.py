"""Gives up the capabilities that an attached tracer does not need any more."""

import ctypes
import os
from collections.abc import Iterable

from kmemtrace.errors import CannotError
from kmemtrace.foreign import libc

NUMBERS = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""Capabilities that have to do with tracing, as <linux/capability.h> numbers them."""

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Data = ctypes.c_uint32 * 6
"""Masks of effective, permitted and inheritable ones: of the lower 32 capabilities, then of the upper."""


def keep_only(names: Iterable[str]) -> tuple[str, ...]:
    """Drops every other capability of the calling thread and of those that it starts, for good.

    Returns:
        Which of `names` are left: those that were held.

    Raises:
        CannotError: The kernel refuses.
    """
    header, data = _Header(_VERSION_3, 0), _Data()
    _ask("capget", ctypes.byref(header), data)
    held = data[1] | data[4] << 32
    # Bits that execve() could bring back; dropping them takes CAP_SETPCAP, which a service may lack.
    for number in range(64):
        if libc().prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            libc().prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _ask("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    left = tuple(name for name in names if held >> NUMBERS[name] & 1)
    bits = sum(1 << NUMBERS[name] for name in left)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    _ask("capset", ctypes.byref(header), _Data(low, low, 0, high, high, 0))
    return left


def _ask(function: str, *arguments: object) -> None:
    if getattr(libc(), function)(*arguments) != 0:
        error = os.strerror(ctypes.get_errno())
        raise CannotError(f"Capabilities cannot be dropped: {function}: {error}.")
