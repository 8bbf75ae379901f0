"""A tracer on this host's kernel, and memory cgroups to run known workloads in."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmemtrace.cgroups.left_behind import clear_left_behind
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.check import examine
from kmemtrace.commands.session import make_tracer
from kmemtrace.errors import CannotError
from kmemtrace.model.enums import Confidence, Tier
from kmemtrace.model.snapshot import Cgroup
from kmemtrace.model.unseen import Unseen
from kmemtrace.report.mismatch import lines
from kmemtrace.tracer.tracer import Tracer
from tests.live.workloads import fill_pipes, held_in, keep_threads


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tracer" in metafunc.fixturenames:
        tiers = metafunc.config.getoption("--tier") or ["best"]
        one = metafunc.definition.get_closest_marker("one_tier")
        if one is not None and one.args[0] in tiers:
            tiers = [one.args[0]]
        metafunc.parametrize("tracer", tiers, indirect=True, scope="session")


@dataclass(frozen=True)
class Early:
    """Pages that were charged before any tracer started, held by a process in a cgroup."""

    folder: Path
    pipe_pages: int
    threads: int
    release: Callable[[], None]
    """Ends the process."""


@pytest.fixture(scope="session")
def _able() -> None:
    problems = examine()["problems"]
    if problems:
        pytest.skip(f"this kernel or user cannot: {' '.join(problems)}")
    clear_left_behind(memory_hierarchy())  # of tests that were killed: the next verify would tell of it


@pytest.fixture(scope="session")
def early(request: pytest.FixtureRequest, _able: None) -> Iterator[dict[str, Early]]:
    """By tier, for each tier's test takes the pages of its own to an end."""
    found = {}
    with contextlib.ExitStack() as stack:
        for tier in request.config.getoption("--tier") or ["best"]:
            folder = stack.enter_context(_removed_after(new_cgroup(f"early-{tier}")))
            holder = stack.enter_context(contextlib.ExitStack())
            holder.enter_context(held_in(folder, lambda: (fill_pipes(2003), keep_threads(101))))
            found[tier] = Early(folder, 2003, 101, holder.close)
        yield found


def new_cgroup(name: str) -> Path:
    """A memory cgroup, as a folder below the mount."""
    hierarchy = memory_hierarchy()
    if hierarchy.version == 2:
        (hierarchy.mount / "cgroup.subtree_control").write_text("+memory")
    # Tests that were killed leave theirs, and a process id comes again.
    folder = hierarchy.mount / f"kmemtrace-test-{os.getpid()}-{secrets.token_hex(2)}-{name}"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def _removed_after(folder: Path) -> Iterator[Path]:
    yield folder
    for below in sorted(folder.glob("**/"), reverse=True):
        below.rmdir()


@pytest.fixture(scope="session")
def tracer(request: pytest.FixtureRequest, early: dict[str, Early]) -> Iterator[Tracer]:
    """One for all live tests of a tier: compiling is what takes time. Counts are of a test's own
    cgroup."""
    tier = None if request.param == "best" else Tier(request.param)
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(make_tracer(tier))
        except CannotError as error:
            if "cannot do --tier" not in str(error):
                raise  # a program of ours was not accepted: that is for no test to pass over
            pytest.skip(f"refused: {error}")
        _wait_for_preexisting(running)
        yield running


def _wait_for_preexisting(tracer: Tracer) -> None:
    """The count of what was charged before takes seconds, and is off by what changes meanwhile."""
    deadline = time.monotonic() + 60
    while tracer.snapshot().preexisting_pages is None and time.monotonic() < deadline:
        time.sleep(0.5)


@pytest.fixture
def functions(tracer: Tracer) -> Tier:
    """The tier, where it probes functions; skips where it does not."""
    assert tracer.plan.tier is not None
    if tracer.plan.tier is Tier.TRACEPOINT:
        pytest.skip("seen by function probes only, and this is the tracepoint tier")
    return tracer.plan.tier


@pytest.fixture
def make_cgroup(tracer: Tracer) -> Iterator[Callable[[str], Path]]:
    """Makes memory cgroups, and removes what is left of them."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(_removed_after(new_cgroup(name)))


_SKIPPED_PROBES = 2
"""Pages whose uncharge kprobes may have skipped in interrupts, where the kernel does not tell how often."""


class Watched:
    """What the tracer says of one cgroup, and what it missed meanwhile."""

    def __init__(self, tracer: Tracer, folder: Path) -> None:
        self._tracer = tracer
        self._id = folder.stat().st_ino
        self._before = tracer.snapshot().losses

    def cgroup(self) -> Cgroup | None:
        """Its row now; None when it has none."""
        return next((c for c in self._tracer.snapshot().cgroups if c.key.id == self._id), None)

    def row(self) -> Cgroup:
        row = self.cgroup()
        assert row is not None, "the workload's cgroup has no row"
        return row

    def losses(self) -> int:
        """Pages that missed events could account for since the watching began: each missed event
        of a page, and each page mended."""
        now = self._tracer.snapshot()
        uncounted = _SKIPPED_PROBES if Unseen.SKIPPED_PROBES in now.unseen else 0
        return now.losses.doubtful_pages - self._before.doubtful_pages + uncounted


def certain(tracer: Tracer) -> list[str]:
    """The mismatches that no missed event explains, with their evidence."""
    found = tracer.snapshot().mismatches
    return ["\n".join(lines(m)) for m in found if m.confidence is Confidence.CERTAIN]


@pytest.fixture
def watch(tracer: Tracer) -> Callable[[Path], Watched]:
    return lambda folder: Watched(tracer, folder)
