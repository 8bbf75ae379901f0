"""What the fault tests need beside a tracer: an injector outside, and cgroups that were charged."""

import itertools
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from tests.faults.faults import Scene
from tests.faults.kernel import Kernel
from tests.live.workloads import join, run_in
from tests.tracing import new_cgroup

FOLDER = "KMEMTRACE_INJECTOR"
"""Names the folder shared with the host where an injector waits."""
collect_ignore = [] if FOLDER in os.environ else ["test_faults.py"]


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip("faults are injected from outside a guest only (make test-faults)")
    return Kernel(Path(folder))


def run(folder: Path, work: Callable[[], int]) -> int:
    """What `work` answers in a child in that cgroup."""
    with mmap.mmap(-1, mmap.PAGESIZE) as shared:

        def child() -> None:
            shared[:8] = work().to_bytes(8, "little")

        run_in(folder, child)
        return int.from_bytes(shared[:8], "little")


@pytest.fixture
def scenes(kernel: Kernel, tracer: object, request: pytest.FixtureRequest) -> Iterator[Callable[[], Scene]]:
    """Makes one after the other, all of this test's own."""
    test = "".join(c if c.isalnum() else "-" for c in request.node.name)
    names = (f"{test}-{number}" for number in itertools.count())
    with ExitStack() as stack:
        yield lambda: stack.enter_context(_scene(kernel, next(names)))


@contextmanager
def _scene(kernel: Kernel, name: str) -> Iterator[Scene]:
    """On v2 a cgroup that has children with memory accounting has no processes: the parent is charged
    before it becomes one."""
    parent, other = new_cgroup(f"{name}-p"), new_cgroup(f"{name}-o")
    page = run(parent, kernel.alloc)
    if memory_hierarchy().version == 2:
        (parent / "cgroup.subtree_control").write_text("+memory")
    mine = parent / "mine"
    mine.mkdir()
    yield Scene(kernel, run, mine, other, parent, page)
    join(memory_hierarchy().mount)
    for folder in (mine, parent, other):
        folder.rmdir()
