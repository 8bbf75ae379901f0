"""Finds which ways of attaching to a function this kernel really has.

They are tried, not guessed from its configuration, because lockdown and hypervisors refuse what was built in.
"""

import ctypes
import errno
import fcntl
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.loading import FENTRY, load
from kmemtrace.kernel.syscall import bpf, perf_event_open

KPROBE_PMU = Path("/sys/bus/event_source/devices/kprobe/type")
_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_OBJ_GET_INFO_BY_FD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 15, 17, 28
_PERF_EVENT_LINK, _PERF_EVENT_ENABLE, _PERF_EVENT_SET_BPF = 41, 0x2400, 0x40042408
_TYPE_TRACEPOINT = 2
"""<linux/perf_event.h>'s PERF_TYPE_TRACEPOINT."""
_KPROBE_MISSED_AT = 48
"""Offset of perf_event.kprobe.missed in struct bpf_link_info, since 6.7 (3acf8ace6823)."""
_RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit


class _Open(ctypes.Structure):
    """union bpf_attr of BPF_RAW_TRACEPOINT_OPEN, which also attaches fentry."""

    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32), ("pad", ctypes.c_uint32))


class _PerfEvent(ctypes.Structure):
    """struct perf_event_attr, its second version."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("pad", ctypes.c_uint64 * 3),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("function", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
    )


class _Link(ctypes.Structure):
    """union bpf_attr of BPF_LINK_CREATE."""

    _fields_ = tuple((name, ctypes.c_uint32) for name in ("prog_fd", "target_fd", "attach_type", "flags"))


class _Info(ctypes.Structure):
    """union bpf_attr of BPF_OBJ_GET_INFO_BY_FD."""

    _fields_ = (("fd", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64))


def kprobe_refusal(pmu: Path = KPROBE_PMU) -> str | None:
    """Returns why kprobes cannot be had; None where they can, as far as can be told without setting one."""
    return None if pmu.exists() else "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)"


def fentry_refusal(btf: Btf, function: str) -> str | None:
    """Returns why a BPF program cannot be attached to the entry of `function`; None where it can.

    It loads and attaches one that does nothing, for a moment.
    """
    if platform.machine() not in ("x86_64", "aarch64", "s390x", "riscv64", "ppc64le", "loongarch64"):
        return f"fentry does not exist on {platform.machine()}"
    target = btf.function_id(function)
    if target is None:
        return f"the kernel's BTF has no {function} to try it on"
    return _try(target)


@cache
def _try(target: int) -> str | None:
    try:
        program = load(_RETURN_0, FENTRY, "try", target)
    except OSError as error:
        return f"the kernel refuses to load a fentry program ({os.strerror(error.errno or 0)})"
    try:
        os.close(attach(program))
    except OSError as error:
        return f"the kernel refuses to attach a fentry program ({os.strerror(error.errno or 0)})"
    finally:
        os.close(program)
    return None


def attach(program: int, tracepoint: bytes | None = None) -> int:
    """Attaches a program to its function, or to a raw tracepoint.

    Args:
        program: Descriptor of the program; one for FENTRY or FEXIT knows its function.
        tracepoint: Name of the raw tracepoint; None for a program that has a function.

    Returns:
        A descriptor: the program is detached when it is closed.

    Raises:
        OSError: The kernel refuses.
    """
    name = None if tracepoint is None else ctypes.create_string_buffer(tracepoint)
    link = bpf(
        _RAW_TRACEPOINT_OPEN, _Open(name=0 if name is None else ctypes.addressof(name), prog_fd=program)
    )
    if link < 0:
        raise OSError(-link, os.strerror(-link))
    return link


@dataclass(frozen=True, slots=True)
class PerfLink:
    """A program on the perf event of a kprobe or classic tracepoint; all descriptors have to stay open."""

    link: int | None
    """The BPF link; None before 5.15, where the event itself has the program, until it is closed."""
    event: int

    def missed(self) -> int | None:
        """Tells how often a kprobe was hit and skipped.

        It is skipped when an interrupt hits it while the program of another one runs. The kernel counts that
        for the probe, not for the program.

        Returns:
            The number; None before 6.7, which does not tell it.
        """
        if self.link is None:
            return None
        buffer = ctypes.create_string_buffer(256)
        asked = _Info(fd=self.link, length=len(buffer), info=ctypes.addressof(buffer))
        if bpf(_OBJ_GET_INFO_BY_FD, asked) < 0 or asked.length < _KPROBE_MISSED_AT + 8:
            return None
        return ctypes.c_uint64.from_buffer(buffer, _KPROBE_MISSED_AT).value

    def close(self) -> None:
        if self.link is not None:
            os.close(self.link)
        os.close(self.event)


def attach_kprobe(program: int, function: bytes, *, at_return: bool) -> PerfLink:
    """Attaches a program to a function's entry or return.

    Raises:
        OSError: The kernel refuses.
    """
    name = ctypes.create_string_buffer(function)
    kind = int(KPROBE_PMU.read_text(encoding="ascii"))
    return _attach_perf(
        program, _PerfEvent(type=kind, config=int(at_return), function=ctypes.addressof(name))
    )


def attach_tracepoint(program: int, number: int) -> PerfLink:
    """Attaches a program to the classic tracepoint of this number, on all CPUs.

    Raises:
        OSError: The kernel refuses.
    """
    return _attach_perf(program, _PerfEvent(type=_TYPE_TRACEPOINT, config=number))


def tracepoint_number(group: str, name: str) -> int | None:
    """Returns the number of a classic tracepoint; None where it has none, or tracefs is not mounted."""
    for root in _TRACEFS:
        try:
            return int((root / "events" / group / name / "id").read_text(encoding="ascii"))
        except OSError:
            continue
    return None


def _attach_perf(program: int, wanted: _PerfEvent) -> PerfLink:
    wanted.size = ctypes.sizeof(_PerfEvent)
    wanted.sample_period = wanted.wakeup_events = 1
    event = perf_event_open(wanted)
    if event < 0:
        raise OSError(-event, os.strerror(-event))
    made = PerfLink(None, event)
    try:
        made = PerfLink(_link(program, event), event)
        fcntl.ioctl(event, _PERF_EVENT_ENABLE, 0)
    except OSError:
        made.close()
        raise
    return made


def _link(program: int, event: int) -> int | None:
    """Links a program to a perf event, or before 5.15, which has no such links (b89fbfbb854c), sets it there.

    Raises:
        OSError: The kernel refuses.
    """
    link = bpf(_LINK_CREATE, _Link(prog_fd=program, target_fd=event, attach_type=_PERF_EVENT_LINK))
    if link >= 0:
        return link
    if link != -errno.EINVAL:
        raise OSError(-link, os.strerror(-link))
    # It tells where a link is meant by EINVAL, and so it does of what is wrong otherwise: then this is, too.
    fcntl.ioctl(event, _PERF_EVENT_SET_BPF, program)
    return None
