"""Whether this process can trace on this machine: all that can be known before anything is compiled, the same
for `check` as for whoever traces."""

from kmemtrace import limits
from kmemtrace.cgroups.accounting import accounting_refusal
from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.cgroups.room import memory_room
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import highest_page_frame
from kmemtrace.kernel.privileges import privileges, raise_memlock_if_needed
from kmemtrace.kernel.trial import try_bpf
from kmemtrace.tracer.capacity import Capacity
from kmemtrace.tui.text import size

COMPILER_BYTES = 52 << 20
"""What is taken from the start of a command on, beside the maps: measured, with LLVM 14, and most of it the
compiler's."""


def require_able(max_pages: int | None = None, *, kernel_memory: bool = True) -> None:
    """Raises CannotError, of the first of the problems() there are."""
    found = problems(max_pages, kernel_memory=kernel_memory)
    if found:
        raise CannotError(found[0])


def problems(max_pages: int | None = None, *, kernel_memory: bool = True) -> list[str]:
    """Why this process cannot trace, each with the remedy.

    :param max_pages: as Capacity.of_machine() takes it.
    :param kernel_memory: whether what is wanted is made of charged kernel memory.
    """
    lacking = [accounting_refusal() if kernel_memory else None, privileges().refusal, *shortages(max_pages)]
    found = [one for one in lacking if one is not None]
    # What bpf(2) says to those who lack a privilege, or descriptors, is told already.
    return found or [one for one in [_bpf_refusal()] if one is not None]


def shortages(max_pages: int | None = None) -> list[str]:
    """The problems that are limits of this process: with one of them, not even BCC may load."""
    room = _room_refusal(COMPILER_BYTES + _map_bytes(max_pages))
    return [*limits.shortages(), *([] if room is None else [room])]


def _bpf_refusal() -> str | None:
    try:
        raise_memlock_if_needed()
        try_bpf()
    except CannotError as error:
        return str(error)
    return None


def _map_bytes(max_pages: int | None) -> int:
    try:
        frames = highest_page_frame()
    except OSError:  # for root's eyes only
        frames = 1
    return Capacity.of_machine(frames, max_pages).map_bytes


def _room_refusal(needed: int) -> str | None:
    room = memory_room(_hierarchy())
    if room is None or room.bytes >= needed:
        return None
    return (
        f"There is too little memory: {room.limit} has {size(room.bytes)} left, and kmemtrace needs "
        f"{size(needed)} to start. Raise the limit, or start it where there is more."
    )


def _hierarchy() -> MemoryHierarchy | None:
    try:
        return memory_hierarchy()
    except CannotError:
        return None
