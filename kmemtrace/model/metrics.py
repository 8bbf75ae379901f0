"""The metrics: a row here is what one is called, of what kind it is, what it means, and its labels.

The exporter tells them in this order. What a row reads off a Snapshot by itself is told as it is; the others
have a reader in exporter/, for they need what was counted since the start or how much may be told. fleet/ and
dashboards/ take the names from here.
"""

from collections.abc import Callable
from enum import Enum, unique

from kmemtrace.model.account import CensusInfo
from kmemtrace.model.metric import Entry, Kind, Read, Reading, Unit, Values, each
from kmemtrace.model.snapshot import Snapshot


def _of_census(read: Callable[[CensusInfo], Reading]) -> Read:
    return lambda s: None if s.census is None else read(s.census)


def _missed(snapshot: Snapshot) -> Values:
    losses = snapshot.losses
    return (
        *(((program, "recursion"), count) for program, count in (losses.recursion_misses or {}).items()),
        *(((name, "full"), count) for name, count in losses.map_full.items()),
        (("findings", "full"), losses.ring_drops),
        (("charge_exit", "unpaired"), losses.unpaired),
        (("pages", "busy"), losses.pages_busy),
    )


@unique
class Metric(Enum):
    """Its name follows from the constant's: HELD_BYTES is kmemtrace_held_bytes."""

    def __init__(self, entry: Entry) -> None:
        self.kind, self.text, self.labels, self.read = entry.kind, entry.text, entry.labels, entry.read
        self.family = f"kmemtrace_{self.name.lower()}"
        """The name without what prometheus-client adds to that of a counter."""
        self._full = f"{self.family}_total" if self.kind is Kind.COUNTER else self.family

    # By cgroup.
    CHARGED_PAGES = Entry(Kind.COUNTER, "Base pages charged as kernel memory.", ("cgroup",))
    UNCHARGED_PAGES = Entry(Kind.COUNTER, "Base pages whose charge ended.", ("cgroup",))
    FAILED_CHARGES = Entry(Kind.COUNTER, "Accounted allocations that were refused at a limit.", ("cgroup",))
    RECLAIM_STALL_SECONDS = Entry(
        Kind.COUNTER,
        "Time that tasks had to free memory of a cgroup at its limit, for a charge of any kind.",
        ("cgroup",),
    )
    RECLAIM_STALLS = Entry(Kind.COUNTER, "Times that they had to.", ("cgroup",))
    CHARGES = Entry(Kind.COUNTER, "Charges that were timed.", ("cgroup",))
    CHARGE_SECONDS = Entry(Kind.COUNTER, "Time that these took.", ("cgroup",))
    HELD_BYTES = Entry(
        Kind.GAUGE,
        "Kernel memory that is charged in whole pages: neither uncharged nor lost.",
        ("cgroup", "state"),
    )
    CGROUP_INFO = Entry(
        Kind.INFO,
        "What a cgroup's path says of who lives there; 1.",
        ("cgroup", "pod", "runtime", "container", "unit"),
    )
    KERNEL_BYTES = Entry(
        Kind.GAUGE,
        "Kernel memory charged to the cgroup itself, without its children's, by the kernel's own count.",
        ("cgroup",),
    )
    UNEXPLAINED_BYTES = Entry(
        Kind.GAUGE,
        "Of it, what no page, object and area has; negative where they have more than was charged.",
        ("cgroup",),
    )
    ACCOUNT_BYTES = Entry(Kind.GAUGE, "What the census found, by part.", ("cgroup", "part"))

    # Of what the census found on the machine.
    SLAB_BYTES = Entry(Kind.GAUGE, "Charged slab objects of the whole machine, by cache.", ("cache",))
    DYING_CGROUPS = Entry(
        Kind.GAUGE,
        "Removed cgroups that the kernel still has, whatever keeps them.",
        read=_of_census(lambda c: c.dying_cgroups),
    )
    PINNED_BYTES = Entry(
        Kind.GAUGE,
        "Memory that is charged to them still: page cache (file), shared and anonymous memory, and kernel "
        "memory by part.",
        ("part",),
        _of_census(lambda c: each(c.pinned)),
    )
    CENSUS_SECONDS = Entry(
        Kind.GAUGE, "Time that the last census took.", read=_of_census(lambda c: c.seconds)
    )
    CENSUS_AGE_SECONDS = Entry(Kind.GAUGE, "Since its end.", read=_of_census(lambda c: c.age_seconds))

    # Of mismatches, by cgroup.
    MISMATCHES = Entry(
        Kind.COUNTER,
        "Charges and uncharges that broke the promise, by the cgroup that was charged.",
        ("cgroup", "class", "confidence"),
    )
    LOST_PAGES = Entry(
        Kind.COUNTER,
        "Base pages that they left on that cgroup's counter for good.",
        ("cgroup", "class", "confidence"),
    )

    # Of the machine.
    CHARGE_LATENCY_SECONDS = Entry(Kind.HISTOGRAM, "Time that a charge took.")
    PAGE_LIFETIME_SECONDS = Entry(
        Kind.HISTOGRAM,
        "Time from the charge of a block of pages to its end; without function probes, of one in eight.",
    )
    ALLOC_LATENCY_SECONDS = Entry(
        Kind.HISTOGRAM,
        "Time inside the page allocator, of allocations with __GFP_ACCOUNT and of others.",
        ("accounted",),
    )
    SITE_HELD_BYTES = Entry(Kind.GAUGE, "Of the memory held, by what asked for it.", ("kind",))
    DEAD_CGROUPS = Entry(Kind.GAUGE, "Removed cgroups that still hold pages.")
    DEAD_CGROUP_HELD_BYTES = Entry(Kind.GAUGE, "Kernel memory that they hold.")
    CGROUPS = Entry(Kind.GAUGE, "Cgroups that were charged since the start.")
    PREEXISTING_PAGES = Entry(
        Kind.GAUGE,
        "Base pages that were charged before the start, and are followed since.",
        read=lambda s: s.preexisting_pages,
    )
    UNJUDGED_SECONDS = Entry(
        Kind.GAUGE,
        "For how long from the start mismatches of a class could not be told, though later they can.",
        ("class",),
        lambda s: each(s.unjudged_seconds),
    )
    EXEMPT = Entry(
        Kind.COUNTER,
        "What looked like a mismatch and is legal, by the reason.",
        ("reason",),
        lambda s: [((reason.replace(" ", "_"),), count) for reason, count in s.exempt.items()],
    )

    # Of the tracer itself.
    MISSED_EVENTS = Entry(
        Kind.COUNTER,
        "Events that were not seen: the program was running on that CPU already (recursion), or there was "
        "no room for what it had to keep (full), or its map was locked (busy), or the begin of a charge was "
        "missed (unpaired).",
        ("program", "reason"),
        _missed,
    )
    MENDED_PAGES = Entry(
        Kind.COUNTER,
        "Pages whose end was missed and noticed later: handed out again (healed), or found without their "
        "mark (swept).",
        ("how",),
        lambda s: each({"healed": s.losses.healed, "swept": s.losses.swept}),
    )
    UNKNOWN_STACKS = Entry(
        Kind.COUNTER,
        "Stacks that were not recorded: what they would have told of is counted, its call site is (unknown).",
        read=lambda s: s.losses.unknown_stacks,
    )
    CHECKED_STACKS = Entry(
        Kind.COUNTER,
        "Stacks that were told by what was learned of return addresses, and walked by the kernel as well, to "
        "be held against.",
        read=lambda s: s.losses.checked_stacks,
    )
    WRONG_STACKS = Entry(
        Kind.COUNTER,
        "Those of them that were another's: pages were counted at the wrong call site.",
        read=lambda s: s.losses.wrong_stacks,
    )
    MAP_ENTRIES = Entry(
        Kind.GAUGE,
        "Entries in a BPF map.",
        ("map",),
        lambda s: each({name: fill.entries for name, fill in s.maps.items()}),
    )
    MAP_CAPACITY = Entry(
        Kind.GAUGE,
        "Room for entries.",
        ("map",),
        lambda s: each({name: fill.capacity for name, fill in s.maps.items()}),
    )
    PAGE_SIZE_BYTES = Entry(Kind.GAUGE, "Of a base page.", read=lambda s: s.page_size)
    OWN_MAP_BYTES = Entry(Kind.GAUGE, "Kernel memory of the tracer's own maps.", read=lambda s: s.own_bytes)
    PROGRAM_RUNS = Entry(Kind.COUNTER, "Runs of a BPF program that the kernel counted.", ("program",))
    PROGRAM_RUN_SECONDS = Entry(Kind.COUNTER, "Time that these took.", ("program",))
    READINGS = Entry(Kind.COUNTER, "Readings of the maps.")
    READING_SECONDS = Entry(Kind.COUNTER, "Time that these took.")
    HOOK_INFO = Entry(Kind.INFO, "How each event is seen; 1.", ("event", "hook", "mechanism"))
    UNSEEN_INFO = Entry(
        Kind.INFO,
        "What this kernel or tier cannot show; 1.",
        ("what", "reason"),
        lambda s: [(told, 1) for told in s.unseen.items()],
    )
    BUILD_INFO = Entry(Kind.INFO, "The tracer; 1.", ("version", "tier", "kernel"))

    @property
    def unit(self) -> Unit | None:
        return next((unit for unit in Unit if self.family.endswith(f"_{unit}")), None)

    @property
    def series(self) -> tuple[str, ...]:
        """What its series are called on a Prometheus server."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.family}_{part}" for part in ("bucket", "sum", "count"))
        return (self._full,)

    def __str__(self) -> str:
        """As PromQL and the documents name it."""
        return self._full
