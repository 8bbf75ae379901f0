"""Where this host's kernel has its struct pages, found from a file's page, as where no symbol tells."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmemtrace.census.direct_map import find_maps, page_map_at
from kmemtrace.census.layout.page import page_layout
from kmemtrace.census.layout.slab import slab_layout
from kmemtrace.census.memory import KernelMemory
from kmemtrace.commands.session import make_tracer
from kmemtrace.kernel import planning
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import Facts, RunningKernel, highest_page_frame
from kmemtrace.kernel.known_page import page_path
from kmemtrace.kernel.page_map import By, PageMap
from kmemtrace.model.enums import Tier
from tests.live.workloads import fill_pipes, held_in
from tests.tracing import new_cgroup

pytestmark = pytest.mark.usefixtures("_able")
PAGES = 1009


@pytest.fixture
def facts() -> Iterator[Facts]:
    with Btf() as types:
        yield RunningKernel(types)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a cgroup."""
    made = new_cgroup("by-file")
    yield made
    made.rmdir()


def by_file(facts: Facts) -> PageMap:
    path = page_path(facts)
    assert path is not None, "every kernel that is tested has an xarray"
    return PageMap(path, By.KNOWN_PAGE)


def test_it_is_where_the_other_ways_lead(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the objects of a task are in slabs there."""
    frames, known = highest_page_frame(), by_file(facts)
    with KernelMemory(facts.release) as memory:
        expected = page_map_at(memory, facts, frames)
        monkeypatch.setattr("kmemtrace.census.direct_map.page_map", lambda *_: known)
        found = page_map_at(memory, facts, frames)
        assert found == expected
        assert find_maps(memory, facts, page_layout(facts), slab_layout(facts), frames).pages == found


@pytest.mark.own_tracer
def test_pages_charged_before_the_start_are_found_from_there(
    facts: Facts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = by_file(facts)
    monkeypatch.setattr(planning, "page_map", lambda *_: known)
    with held_in(folder, lambda: fill_pipes(PAGES)), make_tracer(Tier.TRACEPOINT) as tracer:
        assert tracer.plan.page_map == known
        deadline = time.monotonic() + 60
        while tracer.snapshot().preexisting_pages is None and time.monotonic() < deadline:
            time.sleep(0.1)
        inode = folder.stat().st_ino
        cgroup = next(one for one in tracer.snapshot().cgroups if one.key.id == inode)
        assert cgroup.preexisting_pages >= PAGES
