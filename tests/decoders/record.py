"""Records what the census reads of one cgroup: `make test-kernels KERNELS=... ARGS="--boot record"`.

Each guest leaves `recording.json.gz` in its folder, to be kept as tests/decoders/recordings/SERIES.json.gz.
Only a few pages of each kind, the slabs of a few objects, one chunk and the CPUs' stocks.
"""

import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from kmemtrace.census.census import Censor
from kmemtrace.census.layout.percpu import percpu_layout
from kmemtrace.census.memory import Words
from kmemtrace.census.percpu import read_areas
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.censuses import open_censor
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel
from kmemtrace.model.audit import beyond
from tests.decoders.decode import FRAMES, PAGE_BYTES, decode
from tests.decoders.recorded import Recording, RecordingFacts, RecordingMemory
from tests.faults.conftest import FOLDER
from tests.faults.objects import cgroups_of, slab_entries, slabs_of
from tests.live.workloads import fill_pipes, held_in, send_messages, touch_sparsely
from tests.tracing import new_cgroup

_OF_EACH = 2


def load() -> object:
    return (
        fill_pipes(31),
        touch_sparsely(7),
        send_messages(3, 60_000),
        [os.eventfd(0) for _ in range(101)],
    )


def test_recording() -> None:
    above = new_cgroup("recorded")
    if memory_hierarchy().version == 2:
        (above / "cgroup.subtree_control").write_text("+memory")
    folder = above / "mine"
    folder.mkdir()
    with held_in(folder, load), open_censor() as censor:
        recording = _recorded(censor, folder.stat().st_ino, above.stat().st_ino)
    folder.rmdir()
    above.rmdir()
    assert recording.decoded["areas"], "no per-CPU area is charged to the cgroup"
    file = Path(os.environ.get(FOLDER, "/tmp")) / "recording.json.gz"
    recording.write(file)
    assert file.stat().st_size < 1 << 20


def _recorded(censor: Censor, cgroup: int, above: int) -> Recording:
    """`above`: the cgroup that the kernel charges for what this one itself takes, per-CPU areas above all."""
    deadline = time.monotonic() + 60
    while True:
        account = next(c.account for c in censor.take().cgroups if c.key.id == cgroup)
        if not beyond(account) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert not beyond(account), account
    facts = RecordingFacts(RunningKernel(Btf()))
    windows, chunk = _windows(censor, cgroup), _chunk(censor, above)
    stocks = [int(address) for address in censor._stocks._addresses]
    memory = RecordingMemory(censor._memory)
    decoded = decode(memory, facts, windows, chunk, stocks)
    return Recording(
        facts.release, facts.machine, facts.answers, memory.recorded, windows, chunk, stocks, decoded
    )


def _windows(censor: Censor, cgroup: int) -> list[int]:
    layout, start = censor._layouts.page, censor._page_map
    pages, slabs = slabs_of(censor)
    mine = cgroups_of(censor, pages.owners, memcgs=not layout.owner_is_objcg) == cgroup
    kinds = (
        mine & (pages.tables == 1),
        mine & (pages.orders > 0),
        mine & (pages.orders == 0) & (pages.tables == 0),
    )
    chosen = [int(head) for kind in kinds for head in pages.heads[kind][:_OF_EACH]]
    assert any(kinds[1]), "no block of more than a page"
    frames = [(head - start) // layout.size for head in chosen]
    frames += _slab_frames(censor, slabs, cgroup)
    begins = {frame // FRAMES * FRAMES for frame in frames}
    return [start + begin * layout.size for begin in sorted(begins)]


def _slab_frames(censor: Censor, slabs: Words, cgroup: int) -> list[int]:
    """Of some slabs with objects of the cgroup. Their struct pages are looked for by what is in them."""
    some: list[Words] = []
    for words in slabs:
        entries, _size = slab_entries(censor, words)
        if (cgroups_of(censor, censor._memory.words(entries)) == cgroup).any():
            some.append(words)
        if len(some) == 2 * _OF_EACH:
            break
    assert some
    return [_frame_of(censor, words) for words in some]


def _frame_of(censor: Censor, words: Words) -> int:
    layout, first = censor._layouts.page, 0
    at_once = mmap.PAGESIZE
    for first in range(0, censor._frames, at_once):
        count = min(at_once, censor._frames - first)
        copied = censor._memory.read(censor._page_map + first * layout.size, count * layout.size)
        pages = copied.view("u8").reshape(count, -1)
        vector = layout.vector // 8
        found = np.flatnonzero(pages[:, vector] == words[vector])
        if len(found):
            return first + int(found[0])
    raise AssertionError("the slab is gone")


def _chunk(censor: Censor, cgroup: int) -> int:
    """One with areas of the cgroup; 0 where there is none."""
    with Btf() as btf:
        memory, layout = censor._memory, percpu_layout(RunningKernel(btf), PAGE_BYTES)
    for head in censor._chunks._heads.tolist():
        for link in memory.links(head, 1 << 10).tolist():
            owners, _sizes = read_areas(memory, layout, link - layout.list)
            if (cgroups_of(censor, owners) == cgroup).any():
                return int(link) - layout.list
    pytest.skip("this kernel does not tell where its per-CPU memory is")
