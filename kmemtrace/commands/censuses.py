"""Opens what reads the kernel's memory.

That is once for `audit` and `dead`, or now and then beside the tracing.
"""

import argparse
import importlib
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from kmemtrace.census.pauses import LEAST_SECONDS
from kmemtrace.census.program import compile_ahead
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.commands.able import census_bytes, require_able, room_refusal, tracer_bytes
from kmemtrace.commands.arguments import DURATION, OFF, duration_or_off
from kmemtrace.commands.progress import progress
from kmemtrace.commands.session import attached, prepare_tracer_of
from kmemtrace.errors import CannotError
from kmemtrace.foreign import one_blas_thread
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel, highest_page_frame

if TYPE_CHECKING:
    from kmemtrace.census.census import Censor
    from kmemtrace.census.keeper import Absent, Keeper
    from kmemtrace.tracer.tracer import Tracer


def add_census_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--census",
        type=duration_or_off,
        metavar=f"{DURATION}|{OFF}",
        help="how often to read all of the machine's kernel memory, to tell what each cgroup's is made of "
        f"(default: every {LEAST_SECONDS:g}s, less often where that would take 1%% of a CPU)",
    )


@contextmanager
def open_both(options: argparse.Namespace) -> Iterator[tuple["Keeper | Absent", "Tracer"]]:
    """Attaches a Tracer, and opens what takes the censuses that `--census` asks for, while it is entered.

    All is loaded before, so that privileges can be given up in between; where a census cannot be had,
    Snapshots have no account and say why. What refuses both the tracer tells.
    """
    refusal = _refusal(options)
    with ExitStack() as stack:
        if refusal is None:
            # Both compile at a time, and the kernel verifies the tracer's programs meanwhile.
            require_able(tracer_bytes(options.max_pages))
            stack.enter_context(compile_ahead(platform.release()))
        tracer = stack.enter_context(prepare_tracer_of(options, _import_all))
        keeper = _keeper(options, stack, refusal)
        # The tracer last, which would count what the census takes to be made.
        stack.enter_context(attached(tracer))
        yield keeper, tracer


def _import_all() -> None:
    """Imports what takes censuses, and keeps them."""
    importlib.import_module("kmemtrace.census.keeper")
    importlib.import_module("kmemtrace.census.census")


def _refusal(options: argparse.Namespace) -> str | None:
    """Says why there is to be no census, where that is known before."""
    if options.census == OFF:
        return f"no census is taken (--census {OFF})"
    # The tracer comes first: what it needs no census takes from it.
    return room_refusal(census_bytes() + tracer_bytes(options.max_pages), "to trace and take censuses")


def _keeper(options: argparse.Namespace, stack: ExitStack, refusal: str | None) -> "Keeper | Absent":
    from kmemtrace.census.keeper import Absent, Keeper  # noqa: PLC0415 see _import_all()

    if refusal is not None:
        return Absent(refusal)
    try:
        with progress("starting"):
            censor = stack.enter_context(open_censor())
    except CannotError as error:
        return Absent(str(error))
    paths = stack.enter_context(CgroupPaths(memory_hierarchy()))
    subtree = None if options.cgroup is None else paths.id_of(options.cgroup)[1]
    return Keeper(censor, paths, subtree, options.census)


@contextmanager
def open_censor(*, kernel_memory: bool = True) -> Iterator["Censor"]:
    """Opens a Censor.

    Args:
        kernel_memory: Whether what is wanted is made of charged kernel memory alone.

    Raises:
        CannotError: It cannot be had; as far as possible it is raised before anything is loaded.
    """
    require_able(census_bytes(), kernel_memory=kernel_memory)
    with one_blas_thread():
        from kmemtrace.census.census import Censor  # noqa: PLC0415 meanwhile the kernel verifies

    hierarchy = memory_hierarchy()
    with Btf() as btf:
        censor = Censor(RunningKernel(btf), highest_page_frame(), hierarchy)
    with censor:
        yield censor
