"""What sockets' buffers are charged, by the census, against what this host's kernel tells of the cgroups."""

import contextlib
import platform
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmemtrace.census.census import Censor
from kmemtrace.census.sockets import NOT_COUNTED, sockets_refusal
from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.censuses import open_censor
from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.facts import RunningKernel, version
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.unseen import Unseen
from kmemtrace.tracer.maps import possible_cpus
from tests.live.workloads import PAGE, held_in
from tests.tracing import new_cgroup

UNREAD = 30_011
"""Bytes that fit into what a connection's receiver takes, whatever the kernel's defaults."""

Socket = socket.socket
MakeFolder = Callable[[str], Path]


@pytest.fixture(scope="module")
def censor() -> Iterator[Censor]:
    with open_censor() as censor:
        yield censor


@pytest.fixture
def make_folder() -> Iterator[MakeFolder]:
    """Makes memory cgroups, and removes those that are left with what is below them."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Path:
            folder = new_cgroup(f"sockets-{name}")
            stack.callback(_remove, folder)
            return folder

        yield make


def _remove(folder: Path) -> None:
    for one in sorted(folder.glob("**/"), reverse=True):
        one.rmdir()


@pytest.fixture
def counted(censor: Censor) -> None:
    """Skips where the kernel does not tell."""
    with Btf() as btf:
        refusal = sockets_refusal(RunningKernel(btf), v1=v1())
    if refusal not in (None, NOT_COUNTED):
        pytest.skip(f"refused: {refusal}")


def v1() -> bool:
    return memory_hierarchy().version == 1


def kept_back() -> int:
    """Bytes at most, that the CPUs have not told of yet: v2 before 5.13 hears of each 32 pages."""
    late = not v1() and version(platform.release()) < (5, 13)
    return 32 * PAGE * possible_cpus() if late else 0


def connection() -> tuple[Socket, ...]:
    """TCP on loopback, with bytes in it that nobody reads."""
    listening = socket.create_server(("127.0.0.1", 0))
    sending = socket.create_connection(listening.getsockname(), timeout=10)
    taken, _ = listening.accept()
    sending.sendall(bytes(UNREAD))
    return listening, sending, taken


def datagrams() -> tuple[Socket, ...]:
    taking, sending = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    taking.bind(("127.0.0.1", 0))
    sending.connect(taking.getsockname())
    for _ in range(31):
        sending.send(bytes(UNREAD // 31 + 1))
    return taking, sending


def have_counted(folder: Path) -> None:
    """Cgroup v1 counts from the first time on that the limit is written."""
    if v1():
        (folder / "memory.kmem.tcp.limit_in_bytes").write_text("-1")


def told_by_the_kernel(folder: Path) -> int:
    """Of the cgroup with those below it."""
    if v1():
        return int((folder / "memory.kmem.tcp.usage_in_bytes").read_text())
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(stat["sock"])


def found_by_the_census(censor: Censor, above: Path, *below: Path) -> list[int | None]:
    """Of each, once the kernel's count of the first stood still for as long as a census took, and was what
    the census found of all: TCP gives back what it took ahead, and v2's statistics lag by 2 s. After 20 s
    what it found then."""
    deadline = time.monotonic() + 20
    while True:
        before = told_by_the_kernel(above)
        by_inode = {one.key.id: one.account.sock_bytes for one in censor.take().cgroups}
        found = [by_inode[folder.stat().st_ino] for folder in (above, *below)]
        alike = before == told_by_the_kernel(above) == sum(size or 0 for size in found)
        if alike or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("work", [connection, datagrams])
def test_each_cgroup_has_what_the_kernel_counts_of_it_alone(
    work: Callable[[], object], censor: Censor, make_folder: MakeFolder
) -> None:
    above = make_folder("above")
    if not v1():
        (above / "cgroup.subtree_control").write_text("+memory")
    below = above / "below"
    below.mkdir()
    have_counted(above)
    have_counted(below)
    with held_in(below, work):
        found, told = found_by_the_census(censor, above, below), told_by_the_kernel(below)
    assert found == [0, told]
    assert told >= UNREAD // PAGE * PAGE - kept_back()
    # Sockets are taken apart behind the back of who closed them.
    deadline = time.monotonic() + 90
    own, left = found_by_the_census(censor, above, below)
    while left is not None and left > kept_back() and time.monotonic() < deadline:
        time.sleep(1)
        own, left = found_by_the_census(censor, above, below)
    assert own == 0
    assert left is not None
    assert left <= kept_back()


@pytest.mark.usefixtures("counted")
def test_what_sockets_of_a_removed_cgroup_are_charged_stays_with_it(
    censor: Censor, make_folder: MakeFolder
) -> None:
    folder, elsewhere = make_folder("removed"), make_folder("elsewhere")
    have_counted(folder)
    inode = folder.stat().st_ino
    with held_in(folder, connection, leave_to=elsewhere):
        (known,) = found_by_the_census(censor, folder)
        folder.rmdir()
        row = next(one for one in censor.take().cgroups if one.key.id == inode)
    assert known or kept_back()
    assert (row.state, row.account.sock_bytes) == (CgroupState.DEAD, known)


def test_what_v1_does_not_count_is_told_as_that(censor: Censor, make_folder: MakeFolder) -> None:
    if not v1():
        pytest.skip("cgroup v2 counts the sockets of each cgroup")
    folder = make_folder("uncounted")
    with held_in(folder, connection):
        census = censor.take()
        assert told_by_the_kernel(folder) == 0
    (row,) = (one for one in census.cgroups if one.key.id == folder.stat().st_ino)
    assert row.account.sock_bytes is None
    assert "limit_in_bytes" in census.unseen[Unseen.SOCKETS]
