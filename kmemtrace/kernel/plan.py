"""Has the Plan: for each logical event, the hook to use or why there is none.

It is made before anything is loaded (kernel/planning.py), and shown by `kmemtrace check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kmemtrace.kernel.hooks import Event, Hook, NoHook
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.page_map import PageMap
from kmemtrace.model.enums import MismatchClass, Tier
from kmemtrace.model.unseen import Unseen

COSTS: Mapping[Event, str] = {
    Event.ALLOC: "nothing can be traced",
    Event.FREE: "nothing can be traced",
    Event.CHARGE: "no charge latency; charges outside the page allocator (thread stacks) are not seen",
    Event.UNCHARGE: "the end of a charge is seen when its page is freed, not when it is uncharged",
    Event.PUT_UNCHARGE: "pages that are put end when they are freed; a lost uncharge is not noticed",
    Event.PUT_UNCHARGE_BATCH: "pages put in batches end when they are freed; a lost uncharge is not noticed",
    Event.SPLIT: "a split is noticed when the first part is freed; a size mismatch is not",
    Event.KERNEL_TOTAL: "the kernel's own total per cgroup is not shown beside the traced pages",
    Event.RECLAIM_BEGIN: "reclaim stalls are not measured",
    Event.RECLAIM_END: "reclaim stalls are not measured",
    Event.CGROUP_RMDIR: "a cgroup that is removed between two snapshots may stay without a name",
    Event.CGROUP_ATTACH: "an allocation that is not charged while its task changes cgroups may be suspected",
    Event.TASK_BORN: "`verify` does not notice that a process of its command was born into another cgroup",
}
"""What it costs to have no hook for an event."""


class Attachment(StrEnum):
    """How a program is attached to its hook."""

    RAW_TRACEPOINT = "raw tracepoint"
    TRACEPOINT = "tracepoint"
    FENTRY = "fentry"
    FEXIT = "fexit"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"


@dataclass(frozen=True, slots=True)
class Probe:
    """One BPF program of the Plan."""

    hook: Hook
    attachment: Attachment
    number: int = 0
    """Number of what it is attached to: the function's BTF id, for fentry and fexit; a classic tracepoint's
    number; 0 for others."""


@dataclass(frozen=True, slots=True)
class ObjectRoom:
    """How many slab objects are followed at a time, and how many sums of them are kept."""

    objects: int
    sites: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What this kernel lets us do."""

    release: str
    tier: Tier | None
    """How events are hooked; None when no tier works, and then `refusal` says why."""
    hooks: Mapping[Event, Hook | NoHook]
    """By event, the hook to use, or why there is none."""
    alloc_function: Hook | NoHook
    """The allocator's own function, whose time is the alloc latency."""
    unprobed: str | None
    """Why no function is probed; None where functions are."""
    unjudged: Mapping[MismatchClass, str]
    """Mismatch classes that cannot be judged here, and why."""
    programs: Mapping[str, Probe]
    """Programs by name of the BPF function, in the order of attaching."""
    defines: Defines
    """Constants that the BPF side is compiled with."""
    refusal: str | None
    """Why nothing can be traced here, as a sentence; None where it can."""
    page_map: PageMap | None
    """Where struct pages can be gone through, as the search for pages charged before the start does; None
    where that is not known."""
    page_struct_bytes: int
    """Size of struct page in bytes; 0 where it is not known."""
    misses_tasks: bool
    """Whether tasks' allocations can be missed too, not interrupts' alone, which are charged to nobody."""
    misses_are_counted: bool
    """Whether the kernel tells how often a program was skipped."""
    sees_departures: bool
    """Whether it is seen where the processes go that we started."""
    walked: str | None
    """Why the kernel walks the stack of each charge; None where most are known by what was learned."""
    untabled: str | None
    """Why the records of pages are in a hash map; None where they are in a table of our own."""
    objects: ObjectRoom | None = None
    """Room for slab objects, where they are followed."""
    more_unseen: Mapping[Unseen, str] = field(default_factory=dict)
    """What was asked for beyond the events and cannot be seen, each with the reason."""

    @property
    def loads(self) -> bool:
        """Whether programs load the kernel's memory themselves; else they call a helper for each read."""
        return "CAST_FUNCTION" in self.defines

    @property
    def loads_task(self) -> bool:
        """Whether they load at least what tells the current task's cgroup."""
        return self.loads or "TASK_FUNCTION" in self.defines

    @property
    def follows_objects(self) -> bool:
        """Whether slab objects are followed one by one."""
        return self.objects is not None

    @property
    def unseen(self) -> dict[Unseen, str]:
        """Everything that is not seen, each with the reason, and an event with what that costs as well."""
        unseen = {
            Unseen(event): f"{hook.reason}: {COSTS[event]}"
            for event, hook in self.hooks.items()
            if isinstance(hook, NoHook)
        }
        if isinstance(self.alloc_function, NoHook):
            unseen[Unseen.ALLOC_LATENCY] = self.alloc_function.reason
        if self.unprobed is not None:
            unseen[Unseen.FUNCTIONS] = self.unprobed
        return unseen | {Unseen(c): reason for c, reason in self.unjudged.items()} | {**self.more_unseen}

    def attachments(self, event: Event) -> list[str]:
        """Returns how the event's hook is attached, e.g. ["fexit", "fentry"]; empty where it has none."""
        return [str(p.attachment) for p in self.programs.values() if p.hook is self.hooks[event]]
