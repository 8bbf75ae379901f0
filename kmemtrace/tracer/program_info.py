"""Reads what the kernel says of a loaded program: how often it ran, and what it took to verify it."""

import ctypes
from dataclasses import dataclass

from kmemtrace.foreign import libbpf

_RUN_TIME_AT, _RUNS_AT, _MISSES_AT, _VERIFIED_AT = 192, 200, 208, 216
"""Offsets in struct bpf_prog_info of <linux/bpf.h>, which only ever grows."""


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    runs: int
    """How often it ran; counted only while kernel.bpf_stats_enabled is 1, as is run_ns."""
    run_ns: int
    recursion_misses: int | None
    """How often it was skipped because it was running on that CPU already; None before 5.12, which does not
    count them."""
    verified: int | None
    """Instructions that the verifier followed, of a million that it follows at most: each as often as it came
    there. None before 5.16."""


def program_info(fd: int) -> ProgramInfo:
    buffer = (ctypes.c_char * 256)()
    length = ctypes.c_uint32(len(buffer))
    if libbpf().bpf_obj_get_info_by_fd(fd, buffer, ctypes.byref(length)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, "the kernel tells nothing of a BPF program of ours")

    def word(offset: int) -> int | None:
        """None where the kernel's struct does not go that far."""
        return ctypes.c_uint64.from_buffer(buffer, offset).value if length.value >= offset + 8 else None

    verified = word(_VERIFIED_AT)
    return ProgramInfo(
        runs=word(_RUNS_AT) or 0,
        run_ns=word(_RUN_TIME_AT) or 0,
        recursion_misses=word(_MISSES_AT),
        verified=None if verified is None else verified & 0xFFFFFFFF,
    )
