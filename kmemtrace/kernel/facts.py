"""Defines what can be asked of a kernel, running or recorded: the only input of the Plan."""

import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from kmemtrace.kernel.attaching import fentry_refusal, kprobe_refusal, tracepoint_number
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.instructions import Cast, exchanges, find_cast, typed_task
from kmemtrace.kernel.symbols import kernel_symbols
from kmemtrace.model.enums import Tier

_ZONEINFO = Path("/proc/zoneinfo")
_ROUNDED = 1 << 9
"""Page frames that memory's begin is rounded to."""


class Facts(Protocol):
    """One kernel's answers; each is None for what it does not have or does not tell."""

    @property
    def release(self) -> str:
        """The kernel's release, as `uname -r` gives it."""

    @property
    def machine(self) -> str:
        """The machine's architecture, as `uname -m` gives it."""

    def tracepoint(self, name: str) -> tuple[str, ...] | None:
        """Returns the types of a tracepoint's raw arguments."""

    def tracepoint_number(self, group: str, name: str) -> int | None:
        """Returns the number by which a classic tracepoint is attached to."""

    def function(self, name: str) -> tuple[str, ...] | None:
        """Returns the types of a function's parameters."""

    def offset(self, struct: str, field: str) -> int | None:
        """Returns the offset of a field in bytes."""

    def bit(self, struct: str, field: str) -> int | None:
        """Returns at which bit of its 8 bytes a bit field begins."""

    def percpu_offset(self, variable: str) -> int | None:
        """Returns where a per-CPU variable lies among the others, in bytes."""

    def field_size(self, struct: str, field: str) -> int | None:
        """Returns the size of a field in bytes."""

    def size(self, struct: str) -> int | None:
        """Returns the size of a struct in bytes."""

    def enumerator(self, name: str, enum: str | None = None) -> int | None:
        """Returns the value of an enumerator: of the enum called `enum`, or of whichever has it."""

    def function_id(self, name: str) -> int | None:
        """Returns the BTF id of a function, which is what a fentry program is attached to."""

    def cast(self) -> Cast | None:
        """Returns what programs load the kernel's memory by; None where they need a helper for it."""

    def typed_task(self, at: Sequence[int]) -> int | None:
        """Returns the helper that gives programs a task to load from, by pointers at these offsets."""

    def exchanges(self) -> bool:
        """Returns whether programs can compare and exchange."""

    def symbol(self, name: str) -> int | None:
        """Returns the address of a variable of the kernel; only kernels with CONFIG_KALLSYMS_ALL tell it."""

    def refusal(self, tier: Tier) -> str | None:
        """Returns why the kernel lets nobody probe functions as this tier does; None where it does."""


class RunningKernel:
    """Facts of the kernel that we run on, from its BTF and its symbol table."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self.release = platform.release()
        self.machine = platform.machine()

    def tracepoint(self, name: str) -> tuple[str, ...] | None:
        return _types(self._btf.tracepoint(name))

    def tracepoint_number(self, group: str, name: str) -> int | None:
        return tracepoint_number(group, name)

    def function(self, name: str) -> tuple[str, ...] | None:
        return _types(self._btf.function(name))

    def offset(self, struct: str, field: str) -> int | None:
        return self._btf.offset(struct, field)

    def bit(self, struct: str, field: str) -> int | None:
        return self._btf.bit(struct, field)

    def percpu_offset(self, variable: str) -> int | None:
        return self._btf.percpu_offset(variable)

    def field_size(self, struct: str, field: str) -> int | None:
        return self._btf.field_size(struct, field)

    def size(self, struct: str) -> int | None:
        return self._btf.size(struct)

    def enumerator(self, name: str, enum: str | None = None) -> int | None:
        return self._btf.enumerator(name, enum)

    def function_id(self, name: str) -> int | None:
        return self._btf.function_id(name)

    def cast(self) -> Cast | None:
        return find_cast(self._btf)

    def typed_task(self, at: Sequence[int]) -> int | None:
        return typed_task(at)

    def exchanges(self) -> bool:
        return exchanges()

    def symbol(self, name: str) -> int | None:
        return kernel_symbols().variable(name)

    def refusal(self, tier: Tier) -> str | None:
        if tier is Tier.FENTRY:
            return fentry_refusal(self._btf, "__memcg_kmem_charge_page")
        return kprobe_refusal() if tier is Tier.KPROBE else None


def _types(parameters: tuple[tuple[str, str], ...] | None) -> tuple[str, ...] | None:
    return None if parameters is None else tuple(type_ for _, type_ in parameters)


def version(release: str) -> tuple[int, int]:
    """Returns e.g. (6, 18) for "6.18.44-amd64"; (0, 0) for what does not look like a kernel release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def highest_page_frame(zoneinfo: Path = _ZONEINFO) -> int:
    """Returns one more than the highest page frame number that a zone spans."""
    return max((zone.stop for zone in _zones(zoneinfo)), default=0)


def lowest_page_frame(zoneinfo: Path = _ZONEINFO) -> int:
    """Returns the page frame number that memory begins at, rounded down.

    On arm64 it begins where the machine's maker put it, and what lies where struct pages of lower frames
    would lie is somebody else's.
    """
    return min((zone.start for zone in _zones(zoneinfo)), default=0) & -_ROUNDED


def _zones(zoneinfo: Path) -> Iterator[range]:
    """Yields the page frames that each zone spans."""
    spanned = 0
    for line in zoneinfo.read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[:1] == ["spanned"]:
            spanned = int(words[1])
        elif words[:1] == ["start_pfn:"] and spanned:
            yield range(int(words[1]), int(words[1]) + spanned)
