"""The census against this host's kernel: what known workloads left in a cgroup, and that it adds up to what
the kernel says that it charged there."""

import ctypes
import json
import os
import platform
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmemtrace.census.census import Censor
from kmemtrace.census.layout.pin import pin_layout
from kmemtrace.census.memory import KernelMemory, Words
from kmemtrace.census.pins import PinReader, told_pins
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.censuses import open_censor
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel, version
from kmemtrace.model.account import Account
from kmemtrace.model.audit import beyond
from kmemtrace.model.census import PinKind
from kmemtrace.model.enums import CgroupState
from tests.live.objects import HASH, NO_PREALLOC, PERCPU_ARRAY, PERCPU_HASH, bpf_map, memory_maps
from tests.live.test_command import COMMAND
from tests.live.workloads import (
    fill_pipes,
    held_in,
    keep_threads,
    make_semaphores,
    run_in,
    touch_sparsely,
)
from tests.tracing import new_cgroup

PAGE = resource.getpagesize()


@pytest.fixture(scope="module")
def censor() -> Iterator[Censor]:
    with open_censor() as censor:
        yield censor


@pytest.fixture
def make_folder() -> Iterator[Callable[[str], Path]]:
    """Makes memory cgroups, and removes those that are left."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(new_cgroup(f"census-{name}"))
        return made[-1]

    yield make
    for folder in made:
        if folder.exists():
            folder.rmdir()


def account_of(censor: Censor, folder: Path, seconds: float = 20.0) -> Account:
    """As soon as it adds up, or after so long: what is freed late is, and v2's statistics lag by 2 s."""
    deadline = time.monotonic() + seconds
    while True:
        inode = folder.stat().st_ino
        found = next(c.account for c in censor.take().cgroups if c.key.id == inode)
        if not beyond(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def adds_up(found: Account) -> bool:
    """Of v2 before 5.18 nobody knows: it has no count of kernel memory."""
    return found.kernel_bytes is None or beyond(found) == 0


@dataclass(frozen=True)
class Load:
    work: Callable[[], object]
    caches: dict[str, int]
    """That have so many objects at least. The kernel merges caches of like objects, and then knows them by
    the first one's name only."""
    pages: int = 0
    """At least."""
    after: Callable[[], object] = lambda: None


def make_files() -> None:
    made = Path(f"/dev/shm/kmemtrace-census-{os.getpid()}")
    made.mkdir()
    for number in range(2003):
        (made / str(number)).touch()


def remove_files() -> None:
    for made in Path("/dev/shm").glob("kmemtrace-census-*"):
        for file in made.iterdir():
            file.unlink()
        made.rmdir()


def open_files() -> list[int]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(997)]


def event_descriptors() -> list[int]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    return [os.eventfd(0) for _ in range(1009)]


def datagrams() -> list[tuple[socket.socket, socket.socket]]:
    """Unread ones, seven for each of 53 sockets: ten are as many as one takes."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(53)]
    for sender, _ in pairs * 7:
        sender.send(bytes(100))
    return pairs


def watches() -> list[int]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init()
    made = Path(f"/dev/shm/kmemtrace-census-{os.getpid()}")
    made.mkdir()
    for number in range(307):
        (made / str(number)).touch()
        assert libc.inotify_add_watch(descriptor, os.fsencode(made / str(number)), 2) > 0
    return [descriptor]


def semaphores() -> int:
    """In a namespace of their own, which goes with the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_NEW_IPC) == 0, os.strerror(ctypes.get_errno())
    return make_semaphores(4001)


_NEW_IPC = 0x08000000

LOADS = {
    "pipes": Load(lambda: fill_pipes(1009), {"filp": 4}, pages=1009),
    "page-tables": Load(lambda: touch_sparsely(211), {"vm_area_struct": 1}, pages=211),
    "threads": Load(lambda: keep_threads(53), {"task_struct": 53}, pages=4 * 53),
    "files": Load(make_files, {"shmem_inode_cache": 2003, "dentry": 2003}, after=remove_files),
    "datagrams": Load(datagrams, {"sock_inode_cache": 106}),
    "socket-pairs": Load(lambda: [socket.socketpair() for _ in range(211)], {"sock_inode_cache": 422}),
    "event-descriptors": Load(event_descriptors, {"filp": 1009}),
    "open-files": Load(open_files, {"filp": 997}),
    "semaphores": Load(semaphores, {}),
    "watches": Load(watches, {"shmem_inode_cache": 308, "dentry": 308}, after=remove_files),
    "memory-maps": Load(lambda: memory_maps(503), {"vm_area_struct": 1006}),
    "hash": Load(lambda: bpf_map(HASH, 4001), {}),
    "hash-as-needed": Load(lambda: bpf_map(HASH, 4001, NO_PREALLOC, fill=1009), {}),
    "per-cpu-hash": Load(lambda: bpf_map(PERCPU_HASH, 1009, NO_PREALLOC, fill=503), {}),
    "per-cpu-map": Load(lambda: bpf_map(PERCPU_ARRAY, 1009), {}),
}


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_explained_to_the_byte(
    name: str, censor: Censor, make_folder: Callable[[str], Path]
) -> None:
    load, folder = LOADS[name], make_folder(name)
    with held_in(folder, load.work):
        found = account_of(censor, folder)
        objects = {use.cache: use.objects for use in found.caches}
        for cache, least in load.caches.items():
            assert objects.get(cache, 0) >= least, objects
        assert found.pages_bytes >= load.pages * PAGE
        assert adds_up(found), found
    load.after()


def frame_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first frame of a `top` that is started now, and the cgroup's row in it. It waits for a census that
    takes seconds, as in an emulated guest, only if it is told to watch for as long."""
    command = [*COMMAND, "top", "--once", "--json", "--duration", "5s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    frame = json.loads(done.stdout)
    inode = folder.stat().st_ino
    return frame, next(row for row in frame["cgroups"] if row["id"] == inode)


@pytest.mark.own_tracer
def test_what_was_charged_before_the_start_is_in_the_first_frame(
    censor: Censor, make_folder: Callable[[str], Path]
) -> None:
    folder = make_folder("before")
    with held_in(folder, make_files):
        known = account_of(censor, folder)
        frame, row = frame_of(folder)
        after = account_of(censor, folder)
        remove_files()
    assert known.kernel_bytes is not None
    assert after.kernel_bytes is not None
    assert "account" not in frame["unseen"]
    told = row["account"]
    # Meanwhile it falls: what the CPUs had charged ahead is given back, and what is freed late is freed.
    least, most = sorted((known.kernel_bytes, after.kernel_bytes))
    assert 0.99 * least <= told["kernel_bytes"] <= 1.01 * most
    assert {c["cache"]: c["objects"] for c in told["caches"]}["shmem_inode_cache"] >= 2003
    assert abs(told["unexplained_bytes"]) <= 0.01 * told["kernel_bytes"]
    assert row["held_bytes"] < 0.01 * told["kernel_bytes"], "as little was charged since"


def test_no_list_goes_round_without_its_head(
    censor: Censor, make_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed cgroup's objcgs are in its parent's list by then, into which its own head still leads."""
    lists: list[Words] = []
    links = KernelMemory.links

    def noted(memory: KernelMemory, head: int, most: int) -> Words:
        lists.append(links(memory, head, most))
        return lists[-1]

    monkeypatch.setattr(KernelMemory, "links", noted)
    folder, elsewhere = make_folder("round"), make_folder("round-elsewhere")
    with held_in(folder, lambda: fill_pipes(101), leave_to=elsewhere):
        folder.rmdir()
        censor.take()
    assert lists
    assert [len(found) for found in lists] == [len(np.unique(found)) for found in lists]


def test_per_cpu_areas_of_the_cgroups_below(censor: Censor, make_folder: Callable[[str], Path]) -> None:
    """The kernel charges what a cgroup itself takes, areas for its statistics above all, to its parent."""
    folder = make_folder("parent")
    if memory_hierarchy().version == 2:
        (folder / "cgroup.subtree_control").write_text("+memory")
    children = [folder / str(number) for number in range(11)]
    for child in children:
        child.mkdir()
    found = account_of(censor, folder)
    for child in children:
        child.rmdir()
    assert found.percpu_bytes is not None
    assert found.percpu_bytes >= 11 * 64 * (os.cpu_count() or 1)
    assert adds_up(found), found


def test_a_removed_cgroup_stays_as_long_as_its_pages(
    censor: Censor, make_folder: Callable[[str], Path]
) -> None:
    """Its name is the kernel's: no tracer saw it come or go."""
    folder, elsewhere = make_folder("removed"), make_folder("elsewhere")
    inode = folder.stat().st_ino
    with held_in(folder, lambda: fill_pipes(503), leave_to=elsewhere):
        folder.rmdir()
        row = next(c for c in censor.take().cgroups if c.key.id == inode)
        assert (row.state, row.path) == (CgroupState.DEAD, f"/{folder.name}")


def test_no_removed_cgroup_is_no_error(censor: Censor) -> None:
    layouts, nobody = censor._layouts, np.zeros(0, "u8")
    with Btf() as btf:
        pins = pin_layout(RunningKernel(btf), PAGE)
    reader = PinReader(layouts.page, pins, nobody)
    reader.look(np.zeros((7, layouts.page.size // 8), "u8"), 0)
    assert told_pins(censor._memory, pins, reader.result(censor._memory)) == {}


def test_what_a_removed_cgroup_left_in_the_page_cache_has_its_name(
    censor: Censor, make_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    if version(platform.release()) >= (7, 0):
        pytest.skip("this kernel hands the page cache of a removed cgroup to its parent (7.x)")
    folder, file = make_folder("cache"), tmp_path / "left-behind"
    run_in(folder, lambda: file.write_bytes(os.urandom(8 << 20)))
    inode = folder.stat().st_ino
    folder.rmdir()
    found, known = next((one for one in censor.removed() if one.counted.key.id == inode), None), censor.take()
    assert found is not None
    (pin,) = (pin for pin in found.pins if pin.inode == file.stat().st_ino)
    assert pin.kind in (PinKind.FILE, PinKind.SHMEM), "a guest's temporary files are in memory"
    assert pin.bytes == 8 << 20
    assert known.pinned[pin.kind.value] >= 8 << 20
    assert pin.path is not None
    assert pin.path.endswith(f"/{file.name}"), "of the file system below, where one is laid over another"
