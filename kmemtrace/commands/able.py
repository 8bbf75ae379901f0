"""Tells whether this process can trace on this machine.

It is all that can be known before anything is compiled, the same for `check` as for whoever traces.
"""

from kmemtrace import limits
from kmemtrace.cgroups.accounting import accounting_refusal
from kmemtrace.cgroups.mounts import MemoryHierarchy, memory_hierarchy
from kmemtrace.cgroups.room import memory_room
from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import highest_page_frame
from kmemtrace.kernel.privileges import privileges, raise_memlock_if_needed
from kmemtrace.kernel.trial import try_bpf
from kmemtrace.text import size
from kmemtrace.tracer.capacity import Capacity

COMPILER_BYTES = 64 << 20
"""Bytes that are taken from the start of a command on, beside the maps: measured, with LLVM 14, and most of
it the compiler's, which gives it back when it ends; programs that were kept from an earlier run take less."""


_CENSUS_BYTES = 19 << 20
"""Bytes that a census takes beside the compiler: 17 MB measured, with 2 million objects on 25 GB; objects are
added up as they are found."""
_CENSUS_BYTES_OF_FRAMES = 2
"""Page frames for one byte of what a census keeps of charged blocks, which take some 120 bytes each while
they are added up: one in 256 page frames."""


def tracer_bytes(max_pages: int | None = None) -> int:
    """Returns the bytes that a tracer takes from the start of a command on.

    Args:
        max_pages: As Capacity.of_machine() takes it.
    """
    return COMPILER_BYTES + Capacity.of_machine(_page_frames(), max_pages).map_bytes


def census_bytes() -> int:
    """Returns the bytes that censuses take; beside a tracer too, for both may compile at a time."""
    return COMPILER_BYTES + _CENSUS_BYTES + _page_frames() // _CENSUS_BYTES_OF_FRAMES


def require_able(needed: int | None = None, *, kernel_memory: bool = True) -> None:
    """Refuses where this process cannot trace; the arguments are those of problems().

    Raises:
        CannotError: There are problems; it tells of the first.
    """
    found = problems(needed, kernel_memory=kernel_memory)
    if found:
        raise CannotError(found[0])


def problems(needed: int | None = None, *, kernel_memory: bool = True) -> list[str]:
    """Returns why this process cannot trace, each reason with the remedy.

    Args:
        needed: Bytes of memory; None: what a tracer takes by default.
        kernel_memory: Whether what is wanted is made of charged kernel memory.
    """
    lacking = [accounting_refusal() if kernel_memory else None, privileges().refusal, *shortages(needed)]
    found = [one for one in lacking if one is not None]
    # What bpf(2) says to those who lack a privilege, or descriptors, is told already.
    return found or [one for one in [_bpf_refusal()] if one is not None]


def shortages(needed: int | None = None) -> list[str]:
    """Returns the problems that are limits of this process: with one of them, not even BCC may load.

    Args:
        needed: Bytes of memory, as for problems().
    """
    room = room_refusal(tracer_bytes() if needed is None else needed, "to start")
    return [*limits.shortages(), *([] if room is None else [room])]


def _bpf_refusal() -> str | None:
    try:
        raise_memlock_if_needed()
        try_bpf()
    except CannotError as error:
        return str(error)
    return None


def _page_frames() -> int:
    try:
        return highest_page_frame()
    except OSError:  # for root's eyes only
        return 1


def room_refusal(needed: int, purpose: str) -> str | None:
    """Returns why there is not so much memory for a purpose; None where there is."""
    room = memory_room(_hierarchy())
    if room is None or room.bytes >= needed:
        return None
    return (
        f"There is too little memory: {room.limit} has {size(room.bytes)} left, and kmemtrace needs "
        f"{size(needed)} {purpose}. Raise the limit, or start it where there is more."
    )


def _hierarchy() -> MemoryHierarchy | None:
    try:
        return memory_hierarchy()
    except CannotError:
        return None
