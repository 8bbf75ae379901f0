"""Defines numberings and names that cross a border: to the BPF C, to JSON, to the metrics."""

from enum import IntEnum, StrEnum


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


class MismatchClass(IntEnum):
    """How a charge can break the promise; the C side sees each as MISMATCH_<NAME>.

    `counter_drift` is no page's: the tracer never finds it, `verify` does.
    """

    UNCHARGED_ALLOC = 0
    LOST_UNCHARGE = 1
    STRAY_UNCHARGE = 2
    SIZE_MISMATCH = 3
    WRONG_CGROUP = 4
    COUNTER_DRIFT = 5

    @property
    def label(self) -> str:
        return self.name.lower()


class Exemption(IntEnum):
    """Why what looks like a mismatch was not called one; the C side sees each as EXEMPT_<NAME>."""

    ROOT = 0
    KERNEL_THREAD = 1
    INTERRUPT = 2
    EXITED_TASK = 3
    OFFLINE = 4
    MOVED = 5
    REMOTE = 6
    REPARENTED = 7
    PREEXISTING = 8
    UNFOLLOWED = 9
    SPLIT = 10
    UNSEARCHED = 11

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


class Confidence(StrEnum):
    CERTAIN = "certain"
    """No event was missed that could explain it."""
    SUSPECT = "suspect"


def c_defines() -> list[str]:
    """Returns the numberings above as compiler flags, so that C and Python cannot drift apart."""
    families: dict[str, type[IntEnum]] = {
        "LOSS": Loss,
        "MISMATCH": MismatchClass,
        "EXEMPT": Exemption,
    }
    flags = [f"-D{prefix}_{m.name}={m.value}" for prefix, family in families.items() for m in family]
    counts = {"NR_LOSSES": Loss, "NR_MISMATCHES": MismatchClass, "NR_EXEMPTIONS": Exemption}
    return flags + [f"-D{name}={len(family)}" for name, family in counts.items()]
