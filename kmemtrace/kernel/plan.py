"""The Plan: for each logical event, the hook to use or why there is none. Made before anything
is loaded, and shown by `kmemtrace check`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.hooks import Event, Hook, Mechanism, NoHook, choose
from kmemtrace.kernel.judged import judged_defines, page_map, unjudged
from kmemtrace.kernel.layout import Defines, defines
from kmemtrace.kernel.preemption import classic_alloc, raw_programs_are_preempted
from kmemtrace.model.enums import MismatchClass, Tier

_ESSENTIAL = (Event.ALLOC, Event.FREE)
_ESSENTIAL_FUNCTIONS = (Event.CHARGE, Event.UNCHARGE)

_FOR_DEPARTURES = ("OFF_TASK_REAL_PARENT", "OFF_TASK_GROUP_LEADER", "OFF_TASK_COMM")

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

ALLOC_LATENCY = "alloc latency"
FUNCTIONS = "function probes"
NOT_ASKED = "measured on request only (--alloc-latency), because it costs every allocation"


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
    """What it is attached to: the function's BTF id, for fentry and fexit; a classic tracepoint's number."""


# In the order of attaching: what opens a record comes last, or a page charged and freed in between
# would leave its record open. Of a pair the exit comes first: an entry without an exit would stay.
_TRACEPOINTS = {
    Event.CGROUP_RMDIR: "cgroup_rmdir",
    Event.CGROUP_ATTACH: "cgroup_attach",
    Event.TASK_BORN: "task_born",
    Event.KERNEL_TOTAL: "memcg_state",
    Event.RECLAIM_END: "reclaim_end",
    Event.RECLAIM_BEGIN: "reclaim_begin",
    Event.FREE: "page_free",
}
_FUNCTIONS = {
    Event.SPLIT: "split",
    Event.PUT_UNCHARGE_BATCH: "put_uncharge_batch",
    Event.PUT_UNCHARGE: "put_uncharge",
    Event.UNCHARGE: "uncharge",
}
_ENTRY = {Tier.FENTRY: Attachment.FENTRY, Tier.KPROBE: Attachment.KPROBE}
_EXIT = {Tier.FENTRY: Attachment.FEXIT, Tier.KPROBE: Attachment.KRETPROBE}


@dataclass(frozen=True, slots=True)
class Plan:
    """What this kernel lets us do."""

    release: str
    tier: Tier | None
    """None when no tier works; `refusal` says why."""
    hooks: Mapping[Event, Hook | NoHook]
    alloc_function: Hook | NoHook
    """The allocator's own function, whose time is the alloc latency."""
    unprobed: str | None
    """Why no function is probed; None where functions are."""
    unjudged: Mapping[MismatchClass, str]
    """Mismatch classes that cannot be judged here, and why."""
    programs: Mapping[str, Probe]
    """By name of the BPF function, in the order of attaching."""
    defines: Defines
    refusal: str | None
    finds_pages: bool
    """Whether struct pages can be gone through, as the search for pages charged before the start does."""
    misses_tasks: bool
    """Whether tasks' allocations can be missed too, not interrupts' alone, which are charged to nobody."""
    more_unseen: Mapping[str, str] = field(default_factory=dict)
    """What was asked for beyond the events, and cannot be seen, and why."""

    @property
    def unseen(self) -> dict[str, str]:
        """By event, why it is not seen and what that costs."""
        unseen = {
            event.value: f"{hook.reason}: {COSTS[event]}"
            for event, hook in self.hooks.items()
            if isinstance(hook, NoHook)
        }
        if isinstance(self.alloc_function, NoHook):
            unseen[ALLOC_LATENCY] = self.alloc_function.reason
        if self.unprobed is not None:
            unseen[FUNCTIONS] = self.unprobed
        return unseen | {c.label: reason for c, reason in self.unjudged.items()} | {**self.more_unseen}

    def attachments(self, event: Event) -> list[str]:
        """How the event's hook is attached, e.g. ["fexit", "fentry"]; empty where it has none."""
        return [str(p.attachment) for p in self.programs.values() if p.hook is self.hooks[event]]


def make_plan(
    facts: Facts,
    forced: Tier | None = None,
    *,
    alloc_latency: bool = False,
    departures: bool = False,
    steady: bool = False,
    page_frames: int = 1,
) -> Plan:
    """The best tier that this kernel allows, or the `forced` one. `page_frames`: one more than the
    highest of the machine. With `departures` it is also seen where the processes go that we started; with
    `steady` as few allocations are missed as can be, at whatever cost.

    Raises CannotError when the forced tier is not to be had.
    """
    refusals = {tier: _tier_refusal(tier, facts) for tier in _ENTRY}
    if forced is not None and refusals.get(forced) is not None:
        raise CannotError(
            f"This kernel cannot do --tier {forced}: {refusals[forced]}. "
            "Leave --tier out, and the best that works is taken."
        )
    tier = forced or next((t for t, refusal in refusals.items() if refusal is None), Tier.TRACEPOINT)
    without = NoHook("seen by function probes only")
    unprobed = None
    if tier is Tier.TRACEPOINT:
        unprobed = "--tier tracepoint leaves them out" if forced else _both(refusals)
    hooks = {event: _hook(event, facts, tier, without) for event in Event}
    alloc = choose(Event.ALLOC, Mechanism.FUNCTION, facts) if tier is not Tier.TRACEPOINT else without
    if not alloc_latency and isinstance(alloc, Hook):
        alloc = NoHook(NOT_ASKED)
    programs = _programs(hooks, alloc, tier, facts)
    if not departures:
        programs.pop(_TRACEPOINTS[Event.TASK_BORN], None)
    constants: Defines = {}
    if steady and "page_alloc" in programs:
        constants = _steady(programs, facts, page_frames)
    refusal, why = _refusal(hooks), unjudged(facts, tier, hooks, page_frames)
    if refusal is None:
        try:
            constants |= defines(facts) | _tier_defines(tier, programs) | _arguments(programs)
            constants |= judged_defines(why) | page_map(facts, page_frames)
            if departures and all(name in constants for name in _FOR_DEPARTURES):
                constants["WITH_DEPARTURES"] = 1
        except CannotError as error:
            refusal = str(error)
    tier_or_none, preempted = None if refusal else tier, raw_programs_are_preempted(facts)
    finds = any(name in constants for name in ("PAGE_MAP_AT", "OFF_TASK_STACK_AREA"))
    return Plan(
        facts.release,
        tier_or_none,
        hooks,
        alloc,
        unprobed,
        why,
        programs,
        constants,
        refusal,
        finds,
        preempted,
    )


def _tier_refusal(tier: Tier, facts: Facts) -> str | None:
    """Why functions cannot be probed as this tier does."""
    for event in _ESSENTIAL_FUNCTIONS:
        hook = choose(event, Mechanism.FUNCTION, facts)
        if isinstance(hook, NoHook):
            return f"there is no hook for the event '{event}': {hook.reason}"
    return facts.refusal(tier)


def _both(refusals: Mapping[Tier, str | None]) -> str:
    return " and ".join(dict.fromkeys(reason for reason in refusals.values() if reason))


def _hook(event: Event, facts: Facts, tier: Tier, without: NoHook) -> Hook | NoHook:
    if event in _FUNCTIONS or event is Event.CHARGE:
        if tier is Tier.TRACEPOINT:
            return without
        return choose(event, Mechanism.FUNCTION, facts)
    return choose(event, Mechanism.RAW_TRACEPOINT, facts)


def _refusal(hooks: Mapping[Event, Hook | NoHook]) -> str | None:
    for event in _ESSENTIAL:
        hook = hooks[event]
        if isinstance(hook, NoHook):
            return f"The event '{event}' has no hook: {hook.reason}."
    return None


def _programs(
    hooks: Mapping[Event, Hook | NoHook], alloc: Hook | NoHook, tier: Tier, facts: Facts
) -> dict[str, Probe]:
    programs: dict[str, Probe] = {}

    def add(name: str, hook: Hook | NoHook, attachment: Attachment) -> None:
        if isinstance(hook, Hook):
            programs[name] = Probe(hook, attachment, facts.function_id(hook.name) or 0)

    for event, name in _TRACEPOINTS.items():
        add(name, hooks[event], Attachment.RAW_TRACEPOINT)
    if tier is not Tier.TRACEPOINT:
        for event, name in _FUNCTIONS.items():
            add(name, hooks[event], _ENTRY[tier])
        for name, hook in (("charge", hooks[Event.CHARGE]), ("alloc", alloc)):
            add(f"{name}_exit", hook, _EXIT[tier])
            add(f"{name}_entry", hook, _ENTRY[tier])
    add("page_alloc", hooks[Event.ALLOC], Attachment.RAW_TRACEPOINT)
    return programs


def _steady(programs: dict[str, Probe], facts: Facts, page_frames: int) -> Defines:
    """Has allocations be seen by a program that is not preempted, where another would be."""
    classic = classic_alloc(facts, page_frames)
    if classic is None:
        return {}
    number, constants = classic
    raw = programs["page_alloc"]
    programs["page_alloc"] = Probe(raw.hook, Attachment.TRACEPOINT, number)
    return constants


def _tier_defines(tier: Tier, programs: Mapping[str, Probe]) -> Defines:
    """Which parts of the BPF side are compiled."""
    if tier is Tier.TRACEPOINT:
        return {}
    found: Defines = {f"TIER_{tier.name}": 1, "WITH_CHARGE": 1, "WITH_UNCHARGE": 1}
    if "alloc_exit" in programs:
        found["WITH_ALLOC_LATENCY"] = 1
    return found


def _arguments(programs: Mapping[str, Probe]) -> Defines:
    """Where the BPF side finds each argument, and what differs in type between kernels."""
    found: Defines = {}
    for name, probe in programs.items():
        hook, event = probe.hook, _event_name(name)
        if hook.mechanism is Mechanism.FUNCTION:
            found[f"ARGS_{event}"] = len(hook.prototype)
            found |= {f"ARG_{event}_{a.upper()}": i for a, i in hook.arguments.items()}
        elif hook.event is Event.KERNEL_TOTAL:
            is_int = hook.prototype[hook.arguments["val"]] == "int"
            found["MEMCG_STATE_VAL"] = "s32" if is_int else "s64"
    return found


def _event_name(program: str) -> str:
    """CHARGE for charge_entry and charge_exit, PUT_UNCHARGE for put_uncharge."""
    return program.removesuffix("_entry").removesuffix("_exit").upper()
