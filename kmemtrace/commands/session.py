"""Opens a live tracer: what every command that traces does first.

It is done in the order that gives the user the plainest refusal.
"""

import argparse
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Unpack

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.commands.able import require_able, tracer_bytes
from kmemtrace.commands.arguments import entries
from kmemtrace.commands.progress import progress
from kmemtrace.commands.watch import importing
from kmemtrace.errors import UsageError
from kmemtrace.foreign import give_back_memory, one_blas_thread
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel, highest_page_frame
from kmemtrace.kernel.layout import Defines, subtree_defines
from kmemtrace.kernel.plan import Plan
from kmemtrace.kernel.planning import Asked, make_plan
from kmemtrace.model.enums import Tier
from kmemtrace.tracer.capacity import WALK_CHECKS, Capacity
from kmemtrace.tracer.preparing import prepared

if TYPE_CHECKING:
    from kmemtrace.tracer.tracer import Tracer

Wanted = ParamSpec("Wanted")


def add_tracer_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tracing")
    group.add_argument("--cgroup", metavar="PATH", help="trace this memory cgroup and those below it only")
    group.add_argument(
        "--tier", choices=[t.value for t in Tier], help="how to trace (default: the best that works)"
    )
    group.add_argument(
        "--max-pages",
        type=entries,
        metavar="N",
        help="charged pages that can be followed at a time, 100 bytes of memory each "
        "(default: a 64th of the machine's pages)",
    )
    group.add_argument(
        "--no-sites",
        action="store_true",
        help="do not record which code asks for pages: a third of what a charged page costs",
    )
    group.add_argument(
        "--alloc-latency",
        action="store_true",
        help="also time every page allocation, accounted or not, where functions can be probed",
    )
    group.add_argument(
        "--walk-stacks",
        action="store_true",
        help="have the kernel walk the stack of each charged page, at six times the cost; else most are told "
        f"by what is learned of return addresses, and one in {WALK_CHECKS} of these is walked to check them",
    )
    group.add_argument(
        "--kernel-total",
        action="store_true",
        help="also count how the kernel's own total of each cgroup changes (`kernel_pages_change` in JSON), "
        "on 6.18 and later; a charged page costs two thirds more",
    )


def add_object_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--objects",
        action="store_true",
        help="also follow each charged object of the slab, by cache and function. It costs each such "
        "object: to open and close a descriptor took 1.7 times as long, a call that asks for an object "
        "that is not charged 1.13 times (docs/overhead.md)",
    )
    parser.add_argument(
        "--max-objects",
        type=entries,
        metavar="N",
        help="with --objects: how many can be followed at a time, 100 bytes of memory each (default: one for "
        "each 16 of the machine's pages)",
    )


def check_object_arguments(options: argparse.Namespace) -> None:
    """Refuses what of add_object_arguments()'s options does not fit together.

    Raises:
        UsageError: There is a size for what was not asked for.
    """
    if options.max_objects is not None and not options.objects:
        raise UsageError("--max-objects is for --objects, which was not given.")


def tracer_arguments(options: argparse.Namespace) -> dict[str, object]:
    """Returns by name what was given of add_tracer_arguments()'s options."""
    names = ("cgroup", "tier", "max-pages", "no-sites", "alloc-latency", "walk-stacks", "kernel-total")
    return {name: getattr(options, name.replace("-", "_")) for name in names}


def refuse_tracing_arguments(options: argparse.Namespace, why: str) -> None:
    """Refuses what only a tracer has a use for: its options, those of slab objects, and `--census`.

    Raises:
        UsageError: One of them was given.
    """
    names = ("objects", "max-objects", "census")
    others = {name: getattr(options, name.replace("-", "_"), None) for name in names}
    for name, value in {**tracer_arguments(options), **others}.items():
        if value:
            raise UsageError(f"--{name} is for tracing here, and {why}: leave it out.")


@contextmanager
def open_tracer(options: argparse.Namespace) -> Iterator["Tracer"]:
    """Opens a Tracer as add_tracer_arguments()'s options want it; it is detached again afterwards."""
    with prepare_tracer_of(options) as tracer, attached(tracer):
        yield tracer


def prepare_tracer_of(
    options: argparse.Namespace, meanwhile: Callable[[], object] = lambda: None
) -> AbstractContextManager["Tracer"]:
    """Prepares a Tracer as add_tracer_arguments()'s options want it; `meanwhile` is as prepare_tracer()'s."""
    return prepare_tracer(
        meanwhile=meanwhile,
        alloc_latency=options.alloc_latency,
        kernel_total=options.kernel_total,
        walks=options.walk_stacks,
        subtree=options.cgroup,
        tier=None if options.tier is None else Tier(options.tier),
        max_pages=options.max_pages,
        sites=not options.no_sites,
        objects=getattr(options, "objects", False) and (options.max_objects or True),
    )


@contextmanager
def prepare_tracer(
    tier: Tier | None = None,
    subtree: str | None = None,
    max_pages: int | None = None,
    sites: bool = True,
    objects: bool | int = False,
    walk_checks: int = WALK_CHECKS,
    meanwhile: Callable[[], object] = lambda: None,
    **asked: Unpack[Asked],
) -> Iterator["Tracer"]:
    """Makes a Tracer as make_plan()'s and its own arguments want it, which is then to be attached.

    `objects` says whether the slab's are followed too, or how many at a time. Of `walk_checks` stacks that
    need no walk one is walked all the same. `meanwhile` imports what is needed after it, while the
    programs are compiled and verified.

    Raises:
        CannotError: This process or kernel cannot trace; raised before anything is loaded.
        UsageError: There is no such cgroup; raised before anything is loaded.
    """

    def imported() -> None:
        with importing(), one_blas_thread():
            importlib.import_module("kmemtrace.tracer.tracer")
            meanwhile()

    require_able(tracer_bytes(max_pages))
    hierarchy = memory_hierarchy()
    with CgroupPaths(hierarchy) as paths, ExitStack() as stack:
        with progress("starting"), Btf() as btf:
            facts = RunningKernel(btf)
            frames = highest_page_frame()
            plan = make_plan(facts, tier, page_frames=frames, **asked)
            if objects:
                plan = _with_objects(plan, facts, frames, None if objects is True else objects)
            limit = None if subtree is None else _limit(facts, paths, hierarchy.root, subtree)
            capacity = Capacity.of_machine(frames, max_pages)
            more = {"WALK_CHECKS": walk_checks} | (limit or {})
            programs = prepared(plan, hierarchy, capacity, more, imported, sites=sites)
            stack.callback(programs.close)
            from kmemtrace.tracer.tracer import Tracer  # noqa: PLC0415 see imported()

            tracer = Tracer(programs, plan, hierarchy, paths, capacity, sites)
        yield tracer


def _with_objects(plan: Plan, facts: RunningKernel, frames: int, most: int | None) -> Plan:
    from kmemtrace.census.object_plan import with_objects  # noqa: PLC0415 most ask for none

    return with_objects(plan, facts, frames, most)


@contextmanager
def attached(tracer: "Tracer") -> Iterator[None]:
    """Attaches a Tracer that was prepared, and finds the pages that were charged before; then detaches it."""
    with ExitStack() as stack:
        with progress("starting"):
            stack.enter_context(tracer)
        give_back_memory()
        with _adopting(tracer):
            yield


def _attaching(
    prepare: Callable[Wanted, AbstractContextManager["Tracer"]],
) -> Callable[Wanted, AbstractContextManager["Tracer"]]:
    @contextmanager
    def make(*wanted: Wanted.args, **named: Wanted.kwargs) -> Iterator["Tracer"]:
        with prepare(*wanted, **named) as tracer, attached(tracer):
            yield tracer

    return make


make_tracer = _attaching(prepare_tracer)
"""Attaches a Tracer; arguments and errors are those of prepare_tracer()."""


def _limit(facts: RunningKernel, paths: CgroupPaths, root: str, subtree: str) -> Defines:
    cgroup_id, path = paths.id_of(subtree)
    levels = [part for part in (Path(root) / path.lstrip("/")).parts if part != "/"]
    return subtree_defines(facts, cgroup_id, len(levels))


@contextmanager
def _adopting(tracer: "Tracer") -> Iterator[None]:
    """Finds, beside the tracing, the pages that were charged before it.

    It begins after attaching, so that none falls between.
    """
    stop = threading.Event()
    thread = threading.Thread(target=tracer.adopt, args=(stop,), name="preexisting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
