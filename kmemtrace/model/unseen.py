"""What a Snapshot may lack. Whatever is not seen is named by one of these, with the reason."""

from enum import StrEnum

from kmemtrace.model.enums import MismatchClass


class Unseen(StrEnum):
    """What can be unseen; the value stands in JSON, in the metrics and on the screen."""

    # Events: kernel/hooks.py takes them from here.
    ALLOC = "alloc"
    FREE = "free"
    CHARGE = "charge"
    UNCHARGE = "uncharge"
    PUT_UNCHARGE = "put-path uncharge"
    PUT_UNCHARGE_BATCH = "put-path batch"
    SPLIT = "split"
    KERNEL_TOTAL = "kernel total"
    RECLAIM_BEGIN = "reclaim stall begin"
    RECLAIM_END = "reclaim stall end"
    CGROUP_RMDIR = "cgroup rmdir"
    CGROUP_ATTACH = "cgroup attach"
    TASK_BORN = "task born"

    # Mismatch classes that are not judged.
    UNCHARGED_ALLOC = MismatchClass.UNCHARGED_ALLOC.value
    LOST_UNCHARGE = MismatchClass.LOST_UNCHARGE.value
    STRAY_UNCHARGE = MismatchClass.STRAY_UNCHARGE.value
    SIZE_MISMATCH = MismatchClass.SIZE_MISMATCH.value
    WRONG_CGROUP = MismatchClass.WRONG_CGROUP.value
    COUNTER_DRIFT = MismatchClass.COUNTER_DRIFT.value

    FUNCTIONS = "function probes"
    """No function is probed, whatever could be."""
    ALLOC_LATENCY = "alloc latency"
    SKIPPED_PROBES = "skipped probes"
    """The kernel does not tell how often a probe is skipped in an interrupt."""
    SYMBOLS = "symbols"
    """Call sites have no names."""
    SITES = "sites"
    """Call sites are not known."""
    PREEXISTING = "preexisting"
    """Pages charged before the start are not all known."""
    OLDEST = "oldest"
    """How long pages are held."""
    LATENCY_BY_CGROUP = "latency by cgroup"

    ACCOUNT = "account"
    """No cgroup has an account."""
    # Parts of the account.
    PAGES = "pages"
    SLAB = "slab"
    PERCPU = "percpu"
    STOCK = "stock"
    KERNEL = "kernel"
    PINNED = "pinned"
    SOCKETS = "sockets"
    CACHES = "caches"

    OBJECTS = "objects"
    """None is followed."""
    OBJECTS_IN_BULK = "objects in bulk"

    OTHER = "other"
    """What hosts of another version of kmemtrace lack, and this one does not know."""
