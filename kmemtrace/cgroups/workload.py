"""Gives a command a cgroup of its own: makes it, runs in it, waits, and removes it with all that is below."""

import errno
import fcntl
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import CannotError, UsageError
from kmemtrace.foreign import libc

_POLL_SECONDS = 0.1
_REMOVAL_SECONDS = 10.0
_PREFIX = "kmemtrace-verify-"
NAME = re.compile(_PREFIX + r"\d+-[0-9a-f]{4}")
"""Names of our cgroups' folders: the process id of who made it, and what tells two apart that have the same
id in different namespaces."""
_PR_SET_CHILD_SUBREAPER = 36
_JOIN = 'echo 0 >"$0" && exec "$@"'


class WorkloadCgroup:
    """A memory cgroup for a command, below the mounted root."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path

    def run(self, command: Sequence[str], stdout: IO[str] | None = None) -> int:
        """Runs a command in the cgroup to its end.

        Args:
            command: The program and its arguments.
            stdout: Where its output goes; None for where ours goes.

        Returns:
            Its exit status; negative for a signal.

        Raises:
            UsageError: The command cannot be started.
        """
        try:
            # By a shell that joins and becomes the command: what it takes from then on is charged here.
            shell = ["/bin/sh", "-c", _JOIN, str(self.folder / "cgroup.procs")]
            process = subprocess.Popen([*shell, *command], stdout=stdout)
        except OSError as error:
            raise UsageError(f"{command[0]!r} cannot be run: {error.strerror}.") from None
        try:
            return _wait(process)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def processes(self) -> list[int]:
        """Returns the ids of the processes that are still in it, or below.

        For those in a pid namespace that is not ours v2 has 0, and v1 nothing.
        """
        found: list[int] = []
        for file in self.folder.rglob("cgroup.procs"):
            with suppress(OSError):
                found += map(int, file.read_text(encoding="ascii").split())
        return found

    def has(self, path: str) -> bool:
        """Returns whether a cgroup's path is its own, or below it."""
        return path == self.path or path.startswith(f"{self.path}/")

    def wait_until_ended(self, seconds: float, *, everywhere: bool) -> bool:
        """Waits until all of the command's processes have ended.

        Args:
            seconds: How long to wait at most.
            everywhere: Whether to wait for processes of the command outside the cgroup too.

        Returns:
            Whether they ended in that time.
        """
        deadline = time.monotonic() + seconds
        while (_reap() and everywhere) or self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def kill(self) -> None:
        """Ends what is left of the command's processes."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in filter(None, left):  # 0 would be our own process group
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
            _reap()

    def remove(self) -> None:
        """Removes it with all cgroups below it.

        Raises:
            CannotError: One of them cannot be removed.
        """
        for folder in sorted((f.parent for f in self.folder.rglob("cgroup.procs")), reverse=True):
            _remove(folder)

    @property
    def exists(self) -> bool:
        return self.folder.exists()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Waits until the process ends.

    Its orphans become our children meanwhile: one that is not waited for keeps memory, and its cgroup from
    being released.
    """
    while process.returncode is None:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


def _reap() -> bool:
    """Takes leave of children that have ended, and returns whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


@contextmanager
def _taking_orphans() -> Iterator[None]:
    """Makes what a process of ours leaves behind our child, wherever it went, so that it is known."""
    libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc().prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _remove(folder: Path) -> None:
    """Removes a folder; a process that has just ended keeps its cgroup busy for a moment."""
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise CannotError(f"The cgroup {folder} cannot be removed: {error.strerror}.") from None
            time.sleep(_POLL_SECONDS)
        else:
            return


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Holds the lock (flock(2)) of a cgroup's folder.

    The kernel lets go of it when this process dies, however it does, and not before: by that a later run
    knows whose cgroup is nobody's. A process id would not tell, in another namespace or used again.

    Args:
        folder: The cgroup's folder.
        wait: Whether to wait where somebody else holds the lock.

    Yields:
        Whether it is held: False where there is no such folder any more, or, without `wait`, where somebody
        else holds it.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(fd, folder, wait=wait)
    finally:
        os.close(fd)


def _lock(fd: int, folder: Path, *, wait: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return os.path.samestat(os.fstat(fd), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def workload_cgroup(hierarchy: MemoryHierarchy) -> Iterator[WorkloadCgroup]:
    """Makes a cgroup, and removes it afterwards with the processes that are still in it.

    Raises:
        CannotError: No cgroup can be made.
    """
    with _memory_enabled(hierarchy), _new_folder(hierarchy.mount) as folder, _taking_orphans():
        cgroup = WorkloadCgroup(folder, f"/{folder.name}")
        try:
            yield cgroup
        finally:
            if cgroup.exists:
                cgroup.kill()
                cgroup.remove()


@contextmanager
def _new_folder(mount: Path) -> Iterator[Path]:
    """Makes a folder below the mount, and holds its lock."""
    while True:
        folder = mount / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(2)}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise CannotError(
                f"No cgroup can be made in {mount} ({error.strerror}). Mount the hierarchy of "
                "the memory controller so that it can be written to, or use --duration without a command."
            ) from None
        with locked(folder, wait=True) as ours:
            if ours:  # else it was taken for a dead one's before it was locked
                yield folder
                return


@contextmanager
def _memory_enabled(hierarchy: MemoryHierarchy) -> Iterator[None]:
    """Enables the memory controller for the root's children, and puts that back afterwards.

    On v2 a cgroup has the memory controller if its parent hands it down.
    """
    control = hierarchy.mount / "cgroup.subtree_control"
    if hierarchy.version == 1 or "memory" in control.read_text(encoding="ascii").split():
        yield
        return
    try:
        control.write_text("+memory", encoding="ascii")
    except OSError as error:
        raise CannotError(
            f"The memory controller cannot be enabled in {control} ({error.strerror}). Start kmemtrace "
            "outside the container, or use --duration without a command."
        ) from None
    try:
        yield
    finally:
        # Another verification would lose its counter; others' use of it the kernel refuses to end.
        if not any(NAME.fullmatch(folder.name) for folder in hierarchy.mount.iterdir()):
            with suppress(OSError):
                control.write_text("-memory", encoding="ascii")
