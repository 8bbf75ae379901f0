"""Makes the Plan of what a kernel offers."""

from collections.abc import Mapping
from typing import NamedTuple, TypedDict, Unpack

from kmemtrace.errors import CannotError
from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.hooks import Event, Hook, Mechanism, NoHook, choose
from kmemtrace.kernel.judged import judged_defines, unjudged
from kmemtrace.kernel.layout import Defines, defines
from kmemtrace.kernel.loads import loads
from kmemtrace.kernel.page_map import PageMap, page_map
from kmemtrace.kernel.plan import Attachment, Plan, Probe
from kmemtrace.kernel.preemption import classic_alloc, raw_programs_are_preempted
from kmemtrace.kernel.tables import why_no_table
from kmemtrace.kernel.walks import why_not_learned
from kmemtrace.model.enums import Tier

_ESSENTIAL = (Event.ALLOC, Event.FREE)
_ESSENTIAL_FUNCTIONS = (Event.CHARGE, Event.UNCHARGE)

_FOR_DEPARTURES = ("OFF_TASK_REAL_PARENT", "OFF_TASK_GROUP_LEADER", "OFF_TASK_COMM")

NOT_ASKED = "measured on request only (--alloc-latency), because it costs every allocation"
_WALKS_ASKED = "so it was asked for (--walk-stacks)"
_TOTAL_NOT_ASKED = "counted on request only (--kernel-total), because it costs every charge"


_KPROBE_MISSES_SINCE = (6, 7)
"""Before dd8657894c11 the count of a skipped kprobe program stays 0, which must not be shown."""


_WITHOUT = NoHook("seen by function probes only")

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


class _Offered(NamedTuple):
    """What the kernel tells of itself that programs are compiled with."""

    defines: Defines
    page_map: PageMap | None = None
    refusal: str | None = None
    """Why nothing can be traced; None where something can."""


class Asked(TypedDict, total=False):
    """What a command asks for beyond what is always seen; what is left out is not asked for."""

    alloc_latency: bool
    """Whether the allocator's own function is timed, at a cost to every allocation."""
    kernel_total: bool
    """Whether the changes of the kernel's own totals are counted, at a cost to every charge."""
    departures: bool
    """Whether it is also seen where the processes go that we started."""
    walks: bool
    """Whether the kernel walks the stack of each charge, where most could be told without."""
    helpers: bool
    """Whether no more of the kernel's memory is loaded by the programs than before 6.2."""
    steady: bool
    """Whether as few allocations are missed as can be, at whatever cost."""


def make_plan(
    facts: Facts, forced: Tier | None = None, *, page_frames: int = 1, **asked: Unpack[Asked]
) -> Plan:
    """Makes the Plan for the best tier that this kernel allows, or for the forced one.

    Where nothing can be traced, it has no tier and says why.

    Args:
        facts: What is known of the kernel.
        forced: The tier that is asked for; None for the best.
        page_frames: One more than the number of the machine's highest page frame.
        asked: What is asked for beside that.

    Raises:
        CannotError: The forced tier is not to be had.
    """
    tier, unprobed = _tier(facts, forced)
    departures = asked.get("departures", False)
    hooks = _hooks(facts, tier, kernel_total=asked.get("kernel_total", False))
    alloc = _alloc_function(facts, tier, wanted=asked.get("alloc_latency", False))
    programs = _programs(hooks, alloc, tier, facts, departures=departures)
    steadied = _steady(programs, facts, page_frames) if asked.get("steady") else {}
    why = unjudged(facts, tier, hooks, page_frames)
    offered = _offered(facts, tier, hooks, programs, judged_defines(why), page_frames)
    sees_departures = departures and all(name in offered.defines for name in _FOR_DEPARTURES)
    walked = _WALKS_ASKED if asked.get("walks") else why_not_learned(facts, tier, programs)
    loaded = loads(facts, offered.defines, helpers=asked.get("helpers", False))
    return Plan(
        facts.release,
        tier if offered.refusal is None else None,
        hooks,
        alloc,
        unprobed,
        why,
        programs,
        steadied
        | offered.defines
        | _parts(offered.page_map, departures=sees_departures, learned=walked is None)
        | loaded,
        offered.refusal,
        page_map=offered.page_map,
        page_struct_bytes=facts.size("page") or 0,
        misses_tasks=raw_programs_are_preempted(facts),
        misses_are_counted=tier is not Tier.KPROBE or version(facts.release) >= _KPROBE_MISSES_SINCE,
        sees_departures=sees_departures,
        walked=walked,
        untabled=why_no_table(facts),
    )


def _offered(
    facts: Facts,
    tier: Tier,
    hooks: Mapping[Event, Hook | NoHook],
    programs: Mapping[str, Probe],
    judged: Defines,
    page_frames: int,
) -> _Offered:
    """Returns what the kernel offers these programs; nothing but the reason where it is not enough."""
    refusal = _refusal(hooks)
    if refusal is not None:
        return _Offered({}, refusal=refusal)
    try:
        found = defines(facts) | _tier_defines(tier, programs) | _arguments(programs)
        return _Offered(found | judged, page_map(facts, page_frames))
    except CannotError as error:
        return _Offered({}, refusal=str(error))


def _tier(facts: Facts, forced: Tier | None) -> tuple[Tier, str | None]:
    """Returns the best tier, or the forced one, and why no function is probed in it; None where some are."""
    refusals = {tier: _tier_refusal(tier, facts) for tier in _ENTRY}
    if forced is not None and refusals.get(forced) is not None:
        raise CannotError(
            f"This kernel cannot do --tier {forced}: {refusals[forced]}. "
            "Leave --tier out, and the best that works is taken."
        )
    tier = forced or next((t for t, refusal in refusals.items() if refusal is None), Tier.TRACEPOINT)
    if tier is not Tier.TRACEPOINT:
        return tier, None
    return tier, "--tier tracepoint leaves them out" if forced else _both(refusals)


def _alloc_function(facts: Facts, tier: Tier, *, wanted: bool) -> Hook | NoHook:
    """Returns the hook of the allocator's own function, whose time is the alloc latency, or why not."""
    if tier is Tier.TRACEPOINT:
        return _WITHOUT
    hook = choose(Event.ALLOC, Mechanism.FUNCTION, facts)
    return NoHook(NOT_ASKED) if isinstance(hook, Hook) and not wanted else hook


def _parts(pages: PageMap | None, *, departures: bool, learned: bool) -> Defines:
    """Returns the constants of what is compiled in where it can be done."""
    found: Defines = {} if pages is None else {**pages.defines}
    wanted = {"WITH_DEPARTURES": departures, "LEARNED_WALK": learned}
    return found | {name: 1 for name, yes in wanted.items() if yes}


def _tier_refusal(tier: Tier, facts: Facts) -> str | None:
    """Says why functions cannot be probed as this tier does; None where they can."""
    for event in _ESSENTIAL_FUNCTIONS:
        hook = choose(event, Mechanism.FUNCTION, facts)
        if isinstance(hook, NoHook):
            return f"there is no hook for the event '{event}': {hook.reason}"
    return facts.refusal(tier)


def _both(refusals: Mapping[Tier, str | None]) -> str:
    """Says why neither tier with function probes is to be had; a reason that they share is told once."""
    return " and ".join(dict.fromkeys(reason for reason in refusals.values() if reason))


def _hooks(facts: Facts, tier: Tier, *, kernel_total: bool) -> dict[Event, Hook | NoHook]:
    """Returns the hook of each event, or why it has none."""
    hooks = {event: _hook(event, facts, tier) for event in Event}
    if not kernel_total and isinstance(hooks[Event.KERNEL_TOTAL], Hook):
        hooks[Event.KERNEL_TOTAL] = NoHook(_TOTAL_NOT_ASKED)
    return hooks


def _hook(event: Event, facts: Facts, tier: Tier) -> Hook | NoHook:
    """Returns the hook that the tier sees an event by, or why it has none."""
    if event in _FUNCTIONS or event is Event.CHARGE:
        if tier is Tier.TRACEPOINT:
            return _WITHOUT
        return choose(event, Mechanism.FUNCTION, facts)
    return choose(event, Mechanism.RAW_TRACEPOINT, facts)


def _refusal(hooks: Mapping[Event, Hook | NoHook]) -> str | None:
    """Says why nothing can be traced with these hooks; None where something can."""
    for event in _ESSENTIAL:
        hook = hooks[event]
        if isinstance(hook, NoHook):
            return f"The event '{event}' has no hook: {hook.reason}."
    return None


def _programs(
    hooks: Mapping[Event, Hook | NoHook],
    alloc: Hook | NoHook,
    tier: Tier,
    facts: Facts,
    *,
    departures: bool,
) -> dict[str, Probe]:
    """Returns the programs by name, in the order of attaching."""
    programs: dict[str, Probe] = {}

    def add(name: str, hook: Hook | NoHook, attachment: Attachment) -> None:
        if isinstance(hook, Hook):
            programs[name] = Probe(hook, attachment, facts.function_id(hook.name) or 0)

    for event, name in _TRACEPOINTS.items():
        if departures or event is not Event.TASK_BORN:
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
    """Has allocations be seen by a program that is not preempted, where the usual one would be.

    Returns:
        Constants that the other program is compiled with; none where the programs were left as they are.
    """
    raw, classic = programs.get("page_alloc"), classic_alloc(facts, page_frames)
    if raw is None or classic is None:
        return {}
    number, constants = classic
    programs["page_alloc"] = Probe(raw.hook, Attachment.TRACEPOINT, number)
    return constants


def _tier_defines(tier: Tier, programs: Mapping[str, Probe]) -> Defines:
    """Returns the constants that say which parts of the BPF side are compiled."""
    if tier is Tier.TRACEPOINT:
        return {}
    found: Defines = {f"TIER_{tier.name}": 1, "WITH_CHARGE": 1, "WITH_UNCHARGE": 1}
    if "alloc_exit" in programs:
        found["WITH_ALLOC_LATENCY"] = 1
    return found


def _arguments(programs: Mapping[str, Probe]) -> Defines:
    """Returns the constants that say where each argument is, and of which type where kernels differ."""
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
    """Returns a program's event as C names it: CHARGE for charge_entry and charge_exit alike."""
    return program.removesuffix("_entry").removesuffix("_exit").upper()
