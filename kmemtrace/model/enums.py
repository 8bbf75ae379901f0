"""Defines numberings and names that cross a border: to the BPF C, to JSON, to the metrics."""

from enum import IntEnum, IntFlag, StrEnum
from typing import Self


class Tier(StrEnum):
    """How kmemtrace sees the kernel, from the least to the most that it can see."""

    TRACEPOINT = "tracepoint"
    KPROBE = "kprobe"
    FENTRY = "fentry"


class CgroupState(StrEnum):
    ONLINE = "online"
    DEAD = "dead"
    """Removed, and still holding pages, or objects where those are followed."""
    GONE = "gone"
    """Removed, and holding nothing any more: told once, for its last counts."""


class SiteKind(StrEnum):
    """What asked for the page, from the first frame outside the allocator."""

    PIPE = "pipe"
    UNIX_SOCKET = "unix_socket"
    PAGE_TABLE = "page_table"
    THREAD_STACK = "thread_stack"
    VMALLOC = "vmalloc"
    KMALLOC_LARGE = "kmalloc_large"
    BPF = "bpf"
    IO_URING = "io_uring"
    KVM = "kvm"
    BEFORE = "before"
    """Charged before the start, so that it is not known by whom."""
    OTHER = "other"
    UNKNOWN = "unknown"
    """Not known: its stack was not recorded, or the kernel hides the names of functions."""


class Loss(IntEnum):
    """Slots of the BPF map `losses`; the C side sees each as LOSS_<NAME>."""

    PAGES_FULL = 0
    CGROUPS_FULL = 1
    SITES_FULL = 2
    LIVES_FULL = 3
    STACK_UNKNOWN = 4
    HEALED = 5
    UNMATCHED_FREE = 6
    SWEPT = 7
    STALLED_FULL = 8
    FAILURES_FULL = 9
    BATCH_FULL = 10
    UNPAIRED = 11
    PAGES_BUSY = 12
    DEPARTURES_FULL = 13
    OBJECTS_FULL = 14
    OBJECT_SITES_FULL = 15
    OBJECTS_MENDED = 16
    WALK_WRONG = 17


class End(IntEnum):
    """What ended a charge; the C side sees each as END_<NAME>."""

    FREE = 0
    """By mm_page_free: direct if its mark is still set, else by the put path."""
    UNCHARGE = 1
    """Directly, by the function that uncharges a page."""
    PUT = 2
    """By the put path's function."""
    HEALED = 3
    """The page was handed out or charged again while its record was open."""
    SWEPT = 4
    """The sweep found the page without its mark."""
    NONE = 5
    """The finding is no end of a record."""


class ChargeFlag(IntFlag):
    """What a record remembers of its charge; the C side sees each as CHARGE_<NAME>."""

    EXPLICIT = 1
    """It was asked for outside the page allocator, as for thread stacks."""
    SPLIT = 2
    """Its parts may end one by one."""
    FREEING = 4
    """mm_page_free saw the page with its mark; its uncharge comes next."""
    REMOTE = 8
    """It went to another memcg than the task's own (set_active_memcg)."""
    FREED_BEFORE = 16
    """mm_page_free saw the page with its mark once more."""
    ELSEWHERE = 32
    """Its batch uncharged it from another memcg, which was reported there."""
    BEFORE = 64
    """It was made before the start: its time is when it was found."""
    OF_ANY_ORDER = 128
    """Its order is not told: of a block that is not compound only the first page is known."""
    TIMED = 256
    """Its time is that of the charge; else the last that its CPU asked for, a tick before at most."""
    COVERED = 512
    """Another record covers the page that it ended with: one of both is stale, for an event was missed."""


class StackId(IntEnum):
    """What stands in place of a stack's id; the C side sees each as STACK_<NAME>."""

    UNKNOWN = -1
    NO_SITE = -2
    """The map of sites has no entry for it."""
    HERE = -3
    """Where a stack is wanted: that of the program itself is to be taken."""
    BEFORE = -4
    """Of pages charged before the start there is none."""
    BEFORE_TABLE = -5
    """Of those that tell that they are page tables."""
    AT_CHARGE = -6
    """As HERE, where the program is one of the function that charges."""


class _Numbered(StrEnum):
    """Told by its name, and by its place in the order of its members on the C side."""

    @property
    def number(self) -> int:
        return list(type(self)).index(self)

    @classmethod
    def numbered(cls, number: int) -> Self:
        """The member with this number."""
        return list(cls)[number]


class MismatchClass(_Numbered):
    """How a charge can break the promise; the C side sees each as MISMATCH_<NAME>.

    `counter_drift` is no page's: the tracer never finds it, `verify` does.
    """

    UNCHARGED_ALLOC = "uncharged_alloc"
    LOST_UNCHARGE = "lost_uncharge"
    STRAY_UNCHARGE = "stray_uncharge"
    SIZE_MISMATCH = "size_mismatch"
    WRONG_CGROUP = "wrong_cgroup"
    COUNTER_DRIFT = "counter_drift"


class Exemption(_Numbered):
    """Why what looks like a mismatch was not called one; the C side sees each as EXEMPT_<NAME>."""

    ROOT = "root"
    KERNEL_THREAD = "kernel thread"
    INTERRUPT = "interrupt"
    EXITED_TASK = "exited task"
    OFFLINE = "offline"
    MOVED = "moved"
    REMOTE = "remote"
    REPARENTED = "reparented"
    PREEXISTING = "preexisting"
    UNFOLLOWED = "unfollowed"
    SPLIT = "split"
    UNSEARCHED = "unsearched"


class Confidence(StrEnum):
    CERTAIN = "certain"
    """No event was missed that could explain it."""
    SUSPECT = "suspect"


def c_defines() -> list[str]:
    """Returns the numberings above as compiler flags, so that C and Python cannot drift apart."""
    numbered: dict[str, type[IntEnum | IntFlag]] = {
        "LOSS": Loss,
        "END": End,
        "CHARGE": ChargeFlag,
        "STACK": StackId,
    }
    named: dict[str, type[_Numbered]] = {"MISMATCH": MismatchClass, "EXEMPT": Exemption}
    flags = [f"-D{prefix}_{m.name}={m.value}" for prefix, family in numbered.items() for m in family]
    flags += [f"-D{prefix}_{m.name}={m.number}" for prefix, family in named.items() for m in family]
    counts = {"NR_LOSSES": Loss, "NR_MISMATCHES": MismatchClass, "NR_EXEMPTIONS": Exemption}
    return flags + [f"-D{name}={len(family)}" for name, family in counts.items()]
