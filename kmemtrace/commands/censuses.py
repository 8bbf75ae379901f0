"""Opens what reads the kernel's memory.

That is once for `audit` and `dead`, or now and then beside the tracing.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from kmemtrace.census.census import Censor
from kmemtrace.census.keeper import LEAST_SECONDS, Absent, Keeper
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.commands.able import census_bytes, require_able, room_refusal, tracer_bytes
from kmemtrace.commands.arguments import DURATION, duration
from kmemtrace.commands.progress import progress
from kmemtrace.errors import CannotError
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel, highest_page_frame

_OFF = "off"


def add_census_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--census",
        type=_interval,
        metavar=f"{DURATION}|{_OFF}",
        help="how often to read all of the machine's kernel memory, to tell what each cgroup's is made of "
        f"(default: every {LEAST_SECONDS:g}s, less often where that would take 1%% of a CPU)",
    )


def _interval(text: str) -> float | str:
    return _OFF if text == _OFF else duration(text)


@contextmanager
def open_keeper(options: argparse.Namespace) -> Iterator[Keeper | Absent]:
    """Opens what takes the censuses that `--census` asks for, while it is entered.

    All is loaded before, so that privileges can be given up in between; where it cannot be, Snapshots have no
    account and say why.

    It has to be opened when nothing else is being compiled, nor drawn: the compiler has the process to
    itself; and before the tracer, which would count meanwhile. What refuses both the tracer tells.
    """
    with ExitStack() as stack:
        yield (
            Absent("no census is taken (--census off)") if options.census == _OFF else _keeper(options, stack)
        )


def _keeper(options: argparse.Namespace, stack: ExitStack) -> Keeper | Absent:
    # The tracer comes first: what it needs no census takes from it.
    short = room_refusal(census_bytes() + tracer_bytes(options.max_pages), "to trace and take censuses")
    if short is not None:
        return Absent(short)
    try:
        with progress("starting"):
            censor = stack.enter_context(open_censor())
    except CannotError as error:
        return Absent(str(error))
    paths = stack.enter_context(CgroupPaths(memory_hierarchy()))
    subtree = None if options.cgroup is None else paths.id_of(options.cgroup)[1]
    return Keeper(censor, paths, subtree, options.census)


@contextmanager
def open_censor(*, kernel_memory: bool = True) -> Iterator[Censor]:
    """Opens a Censor.

    Args:
        kernel_memory: Whether what is wanted is made of charged kernel memory alone.

    Raises:
        CannotError: It cannot be had; as far as possible it is raised before anything is loaded.
    """
    require_able(census_bytes(), kernel_memory=kernel_memory)
    hierarchy = memory_hierarchy()
    with Btf() as btf, Censor(RunningKernel(btf), highest_page_frame(), hierarchy) as censor:
        yield censor
