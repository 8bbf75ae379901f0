"""The Plan: for each logical event, the hook to use or why there is none. Made before anything
is loaded, and shown by `kmemtrace check`."""

from collections.abc import Mapping
from dataclasses import dataclass

from kmemtrace.errors import CannotError, UsageError
from kmemtrace.kernel.facts import Facts
from kmemtrace.kernel.hooks import Event, Hook, Mechanism, NoHook, choose
from kmemtrace.kernel.layout import Defines, defines
from kmemtrace.model.enums import Tier

_ESSENTIAL = (Event.ALLOC, Event.FREE)

_FUNCTION_ONLY = frozenset({Event.CHARGE, Event.UNCHARGE, Event.PUT_UNCHARGE, Event.SPLIT, Event.REPARENT})

COSTS: Mapping[Event, str] = {
    Event.ALLOC: "nothing can be traced",
    Event.FREE: "nothing can be traced",
    Event.CHARGE: "no charge latency; charges outside the page allocator (thread stacks) are not seen",
    Event.UNCHARGE: "the end of a charge is seen when its page is freed, not when it is uncharged",
    Event.PUT_UNCHARGE: "a page stolen from kmem accounting is found by the next sweep, not at once",
    Event.SPLIT: "a split is noticed when the first part is freed",
    Event.REPARENT: "not needed: pages are kept by the cgroup that they were charged to",
    Event.KERNEL_TOTAL: "the kernel's own total per cgroup is not shown beside the traced pages",
    Event.RECLAIM_BEGIN: "reclaim stalls are not measured",
    Event.RECLAIM_END: "reclaim stalls are not measured",
    Event.CGROUP_MKDIR: "a cgroup that lives only a moment may stay without a name",
    Event.CGROUP_RMDIR: "a removed cgroup is noticed at the next snapshot",
    Event.CGROUP_RELEASE: "nothing that is shown",
}
"""What it costs to have no hook for an event."""

# In the order of attaching: what opens a record comes last, or a page charged and freed in between
# would leave its record open.
_TRACEPOINT_TIER = {
    Event.CGROUP_MKDIR: "cgroup_mkdir",
    Event.CGROUP_RMDIR: "cgroup_rmdir",
    Event.CGROUP_RELEASE: "cgroup_release",
    Event.KERNEL_TOTAL: "memcg_state",
    Event.FREE: "page_free",
    Event.ALLOC: "page_alloc",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What this kernel lets us do."""

    release: str
    tier: Tier | None
    """None when no tier works; `refusal` says why."""
    hooks: Mapping[Event, Hook | NoHook]
    programs: Mapping[str, Hook]
    """Name of each BPF function to load, and the hook to attach it to."""
    defines: Defines
    refusal: str | None

    @property
    def unseen(self) -> dict[str, str]:
        """By event, why it is not seen and what that costs."""
        return {
            event.value: f"{hook.reason}: {COSTS[event]}"
            for event, hook in self.hooks.items()
            if isinstance(hook, NoHook)
        }


def make_plan(facts: Facts, forced: Tier | None = None) -> Plan:
    """The best that this version does on this kernel, or the `forced` tier.

    Raises UsageError when the forced tier is not to be had.
    """
    if forced not in (None, Tier.TRACEPOINT):
        raise UsageError(
            f"--tier {forced} is not available: this version traces by raw tracepoints only. "
            "Use --tier tracepoint, or leave it out."
        )
    hooks = {event: _hook(event, facts) for event in Event}
    refusal = _refusal(hooks)
    constants: Defines = {}
    if refusal is None:
        try:
            constants = defines(facts) | _value_type(hooks[Event.KERNEL_TOTAL])
        except CannotError as error:
            refusal = str(error)
    programs = {
        program: hook for event, program in _TRACEPOINT_TIER.items() if isinstance(hook := hooks[event], Hook)
    }
    tier = Tier.TRACEPOINT if refusal is None else None
    return Plan(facts.release, tier, hooks, programs, constants, refusal)


def _hook(event: Event, facts: Facts) -> Hook | NoHook:
    if event in _FUNCTION_ONLY:
        return NoHook("seen by function probes only, which this version does not attach")
    if event in (Event.RECLAIM_BEGIN, Event.RECLAIM_END):
        return NoHook("not measured by this version")
    return choose(event, Mechanism.RAW_TRACEPOINT, facts)


def _refusal(hooks: Mapping[Event, Hook | NoHook]) -> str | None:
    for event in _ESSENTIAL:
        hook = hooks[event]
        if isinstance(hook, NoHook):
            return f"The event '{event}' has no hook: {hook.reason}."
    return None


def _value_type(hook: Hook | NoHook) -> Defines:
    """C type of mod_memcg_state's last argument, which the BPF side casts to."""
    if isinstance(hook, NoHook):
        return {}
    return {"MEMCG_STATE_VAL": "s32" if hook.prototype[hook.arguments["val"]] == "int" else "s64"}
