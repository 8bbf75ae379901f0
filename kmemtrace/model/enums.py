"""Numberings and names that cross a border: to the BPF C, to JSON, to the metrics."""

from enum import IntEnum, StrEnum


class Tier(StrEnum):
    """How kmemtrace sees the kernel, from the least to the most that it can see."""

    TRACEPOINT = "tracepoint"
    KPROBE = "kprobe"
    FENTRY = "fentry"


class CgroupState(StrEnum):
    ONLINE = "online"
    DEAD = "dead"


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
    OTHER = "other"


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


def c_defines() -> list[str]:
    """The numberings above as compiler flags, so that C and Python cannot drift apart."""
    return [f"-DLOSS_{loss.name}={loss.value}" for loss in Loss] + [f"-DNR_LOSSES={len(Loss)}"]
