"""Compiles the programs that trace, and has the kernel verify them, beside what else is done.

The compiler takes 0.8 s, the verifier 0.2 s, and so does Python until all is imported that reads what the
programs count: nothing of that is imported here.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import CannotError
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.plan import Plan
from kmemtrace.tracer.capacity import Capacity
from kmemtrace.tracer.constants import constants
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import program_text

SOURCE = "kmemtrace.bpf.c"
SWEEP_PROGRAMS = ("inspect", "sweep")
"""Programs that no event runs, but we do at each Snapshot."""
ADOPTION_PROGRAMS = ("find_page_map", "find_charged", "adopt")
"""Programs that no event runs, but the search for pages does that were charged before the start."""
_DEPARTURE_PROGRAMS = ("know_us",)
_OBJECT_PROGRAMS = ("inspect_objects", "describe_cache")


def prepared(
    plan: Plan,
    hierarchy: MemoryHierarchy,
    capacity: Capacity,
    more: Defines,
    meanwhile: Callable[[], object],
    *,
    sites: bool,
) -> Programs:
    """Compiles the programs of a Tracer, and begins to load them; nothing is attached yet.

    Args:
        plan: What this kernel lets us do.
        hierarchy: The cgroup hierarchy that memory is accounted by.
        capacity: How many entries each map has.
        more: Further constants, as of the cgroup that alone is traced, with those below it.
        meanwhile: What is to be done while they are compiled, or where they are kept, while they are loaded.
        sites: Whether call sites are recorded; without, no stack is.

    Raises:
        CannotError: No tier works here, or what was compiled is refused.
    """
    if plan.tier is None:
        raise CannotError(plan.refusal or "No tier works on this kernel.")
    defines = constants(plan, plan.tier, hierarchy, capacity, sites=sites) | more
    text = program_text(SOURCE)
    compiling = Programs.compile_ahead(text, plan.programs, defines)
    with compiling as is_compiled, ExitStack() as stack:
        if is_compiled:
            meanwhile()
        programs = Programs(text, plan.programs, defines)
        stack.callback(programs.close)
        programs.begin_loading(all_programs(plan))
        if not is_compiled:
            meanwhile()
        stack.pop_all()
    return programs


def all_programs(plan: Plan) -> Sequence[str]:
    """Returns the names of the programs that we run, and of those that events do.

    The last, whose events open records, takes the verifier longest: it is to be begun with.
    """
    names = list(SWEEP_PROGRAMS)
    if plan.page_map is not None:
        names += ADOPTION_PROGRAMS
    if plan.sees_departures:
        names += _DEPARTURE_PROGRAMS
    if plan.objects is not None:
        names += _OBJECT_PROGRAMS
    return [*names, *plan.programs]
