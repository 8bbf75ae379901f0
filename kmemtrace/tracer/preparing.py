"""Compiles the programs that trace, and has the kernel verify them, beside what else is done.

The compiler takes 0.8 s, the verifier 0.2 s, and so does Python until all is imported that reads what the
programs count: nothing of that is imported here.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import CannotError
from kmemtrace.kernel.beside import beside
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


@contextmanager
def preparing(
    plan: Plan, hierarchy: MemoryHierarchy, capacity: Capacity, more: Defines, *, sites: bool
) -> Iterator["Future[Programs]"]:
    """Begins to compile the programs of a Tracer, and then to load them; nothing is attached yet.

    What it gives is closed at the end.

    Args:
        plan: What this kernel lets us do.
        hierarchy: The cgroup hierarchy that memory is accounted by.
        capacity: How many entries each map has.
        more: Further constants, as of the cgroup that alone is traced, with those below it.
        sites: Whether call sites are recorded; without, no stack is.

    Raises:
        CannotError: No tier works here, or, to whoever asks for the result, what was compiled is refused.
    """
    if plan.tier is None:
        raise CannotError(plan.refusal or "No tier works on this kernel.")
    defines = constants(plan, plan.tier, hierarchy, capacity, sites=sites) | more

    def prepared() -> Programs:
        programs = Programs(program_text(SOURCE), plan.programs, defines)
        programs.begin_loading(all_programs(plan))
        return programs

    found = beside(prepared, "preparing")
    try:
        yield found
    finally:
        found.add_done_callback(_close)


def _close(found: "Future[Programs]") -> None:
    if found.exception() is None:
        found.result().close()


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
