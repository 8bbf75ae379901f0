"""Known workloads, each run by a child process in a cgroup of the test's.

The child is told and tells by eventfd and by its exit: a pipe for that would itself be charged.
"""

import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from kmemtrace.kernel.btf import Btf
from kmemtrace.kernel.syscall import bpf

PAGE = mmap.PAGESIZE
PIPE_PAGES = 256
"""Pages that a pipe of the largest size open to all can hold (fs.pipe-max-size)."""
F_SETPIPE_SZ = 1031
MADV_NOHUGEPAGE = 15
_PR_SET_THP_DISABLE = 41

Pipe = tuple[int, int]


def run_in(folder: Path, work: Callable[[], object]) -> None:
    """Runs `work` to its end in a child in the cgroup `folder`."""
    with held_in(folder, work):
        pass


@contextmanager
def held_in(folder: Path, work: Callable[[], object], *, leave_to: Path | None = None) -> Iterator[None]:
    """Inside, a child in the cgroup `folder` has done `work` and still holds what it made; with
    `leave_to` it has moved to that cgroup since. Afterwards it has ended."""
    done, end = os.eventfd(0), os.eventfd(0)
    child = os.fork()
    if child == 0:
        _child(folder, work, leave_to, done, end)
    try:
        _wait(child, done)
        yield
    finally:
        os.eventfd_write(end, 1)
        os.waitpid(child, 0)
        os.close(done)
        os.close(end)


_OK, _FAILED = 1, 2


def _wait(child: int, done: int) -> None:
    """Waits until the child tells how its work went, or has ended without: by a limit, it was killed."""
    ended = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([done, ended], [], [])
    finally:
        os.close(ended)
    if done not in ready:
        raise AssertionError("the workload was killed")
    if os.eventfd_read(done) != _OK:
        raise AssertionError("the workload failed; its traceback is above")


def _child(folder: Path, work: Callable[[], object], leave_to: Path | None, done: int, end: int) -> None:
    """Never returns: the child must not run what the parent would clean up."""
    try:
        # khugepaged charges huge pages at a moment of its own, and a limit may have no room for them.
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
        join(folder)
        kept = work()  # held until the exit
        if leave_to is not None:
            join(leave_to)
        os.eventfd_write(done, _OK)
        os.eventfd_read(end)
        del kept
    except BaseException:  # noqa: BLE001 a failed assert of the work is shown, whatever it was
        traceback.print_exc()
        os.eventfd_write(done, _FAILED)
    os._exit(0)


def born_in(folder: Path, work: Callable[[], object]) -> None:
    """Runs `work` in a process that is in that cgroup from its birth on (clone3(2), CLONE_INTO_CGROUP)."""
    into, fd = 1 << 33, os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    arguments = (ctypes.c_uint64 * 11)(into, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, fd)
    size = ctypes.c_size_t(ctypes.sizeof(arguments))
    pid = ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.byref(arguments), size)
    assert pid >= 0, os.strerror(ctypes.get_errno())
    if pid == 0:
        work()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def join(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()))


def fill_pipes(pages: int) -> list[Pipe]:
    """Pipes that hold so many pages."""
    pipes = []
    while pages > 0:
        some = min(pages, PIPE_PAGES)
        reader, writer = os.pipe()
        fcntl.fcntl(writer, F_SETPIPE_SZ, PIPE_PAGES * PAGE)
        assert os.write(writer, bytes(some * PAGE)) == some * PAGE
        pipes.append((reader, writer))
        pages -= some
    return pipes


def drain_pipes(pipes: list[Pipe]) -> None:
    for reader, writer in pipes:
        os.close(writer)
        while os.read(reader, 1 << 20):
            pass
        os.close(reader)


def send_messages(messages: int, size: int) -> list[tuple[socket.socket, socket.socket]]:
    """Unix stream sockets, each holding one unread message of `size` bytes."""
    pairs = []
    for _ in range(messages):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * size)
        assert a.send(bytes(size)) == size
        pairs.append((a, b))
    return pairs


def receive_descriptor(slots: int) -> list[int]:
    """With all of `slots` descriptors taken, one more from a message; answers those of ours."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * slots, 2 * slots))
    left, right = socket.socketpair()
    taken = [os.dup(left.fileno())]
    while taken[-1] < slots - 1:
        taken.append(os.dup(left.fileno()))
    socket.send_fds(left, [b"x"], [left.fileno()])
    _, received, _, _ = socket.recv_fds(right, 1, 1)
    assert received == [slots]
    return taken + received


def touch_sparsely(tables: int) -> mmap.mmap:
    """Memory of which one page in each of so many page tables is touched."""
    span = PAGE * (PAGE // 8)  # what one page table maps
    memory = mmap.mmap(-1, tables * span, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    memory.madvise(MADV_NOHUGEPAGE)
    for at in range(0, tables * span, span):
        memory[at] = 1
    return memory


def run_threads(count: int) -> None:
    """So many threads, alive together for a moment, each with a user stack larger than one page
    table maps, so that each needs a page table of its own."""
    threading.stack_size(8 << 20)
    together = threading.Barrier(count)
    threads = [threading.Thread(target=together.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def semaphore_bytes() -> int:
    """Of struct sem: a cache line, and two where its lock is one that sleeps (PREEMPT_RT)."""
    with Btf() as btf:
        size = btf.size("sem")
    assert size is not None
    return size


def make_semaphores(count: int) -> int:
    """A System V semaphore set. Beyond 4 MB the kernel takes blocks of 2 MB for it, splits them
    and frees them page by page."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.semget(0, count, 0o1600)
    assert found >= 0, os.strerror(ctypes.get_errno())
    return int(found)


def remove_semaphores(identifier: int) -> None:
    assert ctypes.CDLL(None, use_errno=True).semctl(identifier, 0, 0) == 0


def resize_pipe(to_pages: int, attempts: int) -> int:
    """Asks so many times for a pipe of that size, an array too large to be charged within the
    cgroup's limit; answers how many were refused."""
    reader, writer = os.pipe()
    refused = 0
    for _ in range(attempts):
        try:
            fcntl.fcntl(writer, F_SETPIPE_SZ, to_pages * PAGE)
        except OSError:
            refused += 1
    os.close(reader)
    os.close(writer)
    return refused


def expect_refusals(to_pages: int, attempts: int) -> None:
    assert resize_pipe(to_pages, attempts) == attempts


@contextmanager
def largest_pipe(pages: int) -> Iterator[None]:
    """Inside, pipes may be as large as that for all users (fs.pipe-max-size)."""
    most = Path("/proc/sys/fs/pipe-max-size")
    before = most.read_text()
    most.write_text(str(pages * PAGE))
    try:
        yield
    finally:
        most.write_text(before)


def set_limit(folder: Path, size: int) -> None:
    """The cgroup's memory limit in bytes, v1's or v2's."""
    v2 = folder / "memory.max"
    (v2 if v2.exists() else folder / "memory.limit_in_bytes").write_text(str(size))


def fill(folder: str, what: str) -> NoReturn:
    """Opens descriptors in that cgroup until its limit has the kernel end the process; OSError where it may
    not have enough of them.

    Those are of events: each a file, and its name; or of pipes, most of whose memory is the array of slots:
    the kernel asks for a file's as its cache says, for an array with __GFP_ACCOUNT.

    Nothing else of it grows there: its table of files has room for all before it joins (6.1 met a limit of
    8 MB where the table doubles, at 16,384 files, each time), and Python keeps none of the numbers."""
    enough, hard = 1 << 17, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for files in (min(enough, hard), enough):
        with suppress(ValueError):  # more than it may have
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
    os.dup2(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1)
    join(Path(folder))
    while True:
        if what == "events":
            os.eventfd(0)
        else:
            fcntl.fcntl(os.pipe()[0], F_SETPIPE_SZ, 32 * PAGE)


def fork_children(count: int) -> None:
    """So many child processes, one after the other, each ending at once."""
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def compete_with_page_cache(data: Path, rounds: int) -> None:
    """Touches every page of a mapped file and makes 211 arrays of 8 pages, in turn: with a limit,
    each array's charge has to wait until some of the file's pages are unmapped and reclaimed."""
    with data.open("rb", 0) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        for _ in range(rounds):
            for at in range(0, len(memory), PAGE):
                memory[at]
            for reader, writer in pipes_with_arrays(211, 512):
                os.close(reader)
                os.close(writer)


def pipes_with_arrays(count: int, slots: int) -> list[Pipe]:
    """Empty pipes, each with an array of so many slots of 40 bytes: one allocation, of its size
    rounded up to a power of two."""
    pipes = [os.pipe() for _ in range(count)]
    for _, writer in pipes:
        fcntl.fcntl(writer, F_SETPIPE_SZ, slots * PAGE)
    return pipes


def share_pages(pages: int) -> Pipe:
    """A pipe that holds pages which were written to another one, closed since (tee(2))."""
    ((reader, writer),) = fill_pipes(pages)
    second = os.pipe()
    fcntl.fcntl(second[1], F_SETPIPE_SZ, PIPE_PAGES * PAGE)
    libc = ctypes.CDLL(None, use_errno=True)
    shared = libc.tee(reader, second[1], ctypes.c_size_t(pages * PAGE), 0)
    assert shared == pages * PAGE, os.strerror(ctypes.get_errno())
    os.close(writer)
    os.close(reader)
    return second


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def lend_pages(pages: int) -> tuple[Pipe, mmap.mmap]:
    """A pipe that holds pages of this process's own memory (vmsplice(2))."""
    memory = mmap.mmap(-1, pages * PAGE)
    memory.write(b"k" * (pages * PAGE))
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, PIPE_PAGES * PAGE)
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    lent = libc.vmsplice(writer, ctypes.byref(_IoVec(address, pages * PAGE)), ctypes.c_size_t(1), 0)
    assert lent == pages * PAGE, os.strerror(ctypes.get_errno())
    return (reader, writer), memory


def keep_threads(count: int) -> list[threading.Thread]:
    """So many threads, which live as long as the process."""
    forever = threading.Event()
    threads = [threading.Thread(target=forever.wait, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def touch_anothers_memory(creator: Path, toucher: Path) -> int:
    """Makes a BPF map in the cgroup `creator` and lets it grow by a task in the cgroup `toucher`:
    the kernel charges it to its creator's. Answers by how many pages."""
    join(creator)
    arena = bpf(_MAP_CREATE, (ctypes.c_uint32 * 5)(_ARENA, 0, 0, 1009, _MMAPABLE))
    if arena < 0:  # before 6.9
        return _grow_trie(toucher, 211)
    join(toucher)
    memory = mmap.mmap(arena, 1009 * PAGE)
    for at in range(0, 1009 * PAGE, PAGE):
        memory[at] = 1
    return 1009


_MAP_CREATE, _MAP_UPDATE = 0, 2
_LPM_TRIE, _ARENA = 11, 33
_NO_PREALLOC, _MMAPABLE = 1, 1 << 10


class _Update(ctypes.Structure):
    """union bpf_attr of BPF_MAP_UPDATE_ELEM."""

    _fields_ = (
        ("map", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


def _grow_trie(toucher: Path, count: int) -> int:
    """Each value of 12 KiB, with its head, is an allocation of 4 pages."""
    size = 3 * PAGE
    trie = bpf(_MAP_CREATE, (ctypes.c_uint32 * 5)(_LPM_TRIE, 8, size, count, _NO_PREALLOC))
    assert trie >= 0, os.strerror(-trie)
    join(toucher)
    value = ctypes.create_string_buffer(size)
    for number in range(count):
        key = (ctypes.c_uint32 * 2)(32, number)
        update = _Update(trie, ctypes.addressof(key), ctypes.addressof(value), 0)
        assert bpf(_MAP_UPDATE, update) == 0
    return 4 * count
