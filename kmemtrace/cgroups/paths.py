"""Finds a cgroup's path from its id, without walking the tree."""

import ctypes
import errno
import heapq
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import UsageError
from kmemtrace.foreign import libc

_FILEID_KERNFS = 0xFE
"""Type of a file handle that holds a kernfs id: <linux/exportfs.h>, 5.5+."""

_RECHECK_SECONDS = 30.0
"""How long a path is taken for granted at least: v1 cgroups can be renamed, and the event of a removal can be
missed."""
_SPREAD = 16
"""Steps, by the id, in which that time grows to up to twice as long: 10,000 paths that fall due at once take
as long as all else of a reading."""

_RECHECKS = 100
"""Most paths that fall due in a second, which take some 2 ms: with more cgroups each is taken for granted for
longer."""

_WALK_PAUSE_SECONDS = 1.0
"""How long after a walk the next may begin at the earliest, so that all that one reading asks for costs one
walk."""

_NO_HANDLES = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS))
"""Errors by which handles will not work later either: without CAP_DAC_READ_SEARCH or below a filter of system
calls, and on kernels that cannot. Any other error, such as too many open files, can pass."""

_MOST_NAMES = 1 << 16
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Resolved:
    path: str | None
    """Its path below the mounted root of the hierarchy; None when it was never learnt."""
    alive: bool
    """Whether it still exists; false only when the kernel says that there is no such cgroup any more."""


class CgroupPaths:
    """Knows the names of the cgroups of one hierarchy, whose mount it holds open until closed."""

    def __init__(self, hierarchy: MemoryHierarchy) -> None:
        self._mount = hierarchy.mount
        self._mount_fd = os.open(hierarchy.mount, os.O_RDONLY | os.O_DIRECTORY)
        self._libc = libc()
        self._handles = True
        self._names: dict[int, str] = {}
        self._due: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []
        """A heap of when ids fall due."""
        self._news: set[int] = set()
        self._gone: set[int] = set()
        """Ids that the kernel said do not exist when it was last asked."""
        self._asked: set[int] = set()
        """Ids that the next walk is to tell of, whether or not they have a name."""
        self._walk_after = 0.0

    def close(self) -> None:
        os.close(self._mount_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve(self, cgroup_id: int) -> Resolved:
        """Returns the cgroup's path as it is now; for a removed cgroup the last one known."""
        now = time.monotonic()
        if now >= self._due.get(cgroup_id, 0.0):
            self._look_up(cgroup_id, now)
            if now >= self._due.get(cgroup_id, 0.0):
                self._news.add(cgroup_id)  # the next time it is asked again
        return Resolved(self._names.get(cgroup_id), alive=cgroup_id not in self._gone)

    def news(self) -> set[int]:
        """Returns the ids of which resolve() may tell something else than when this was called before.

        They are those that it did since, and those that it would look up again.
        """
        now = time.monotonic()
        while self._order and self._order[0][0] <= now:
            self._news.add(heapq.heappop(self._order)[1])
        news, self._news = self._news, set()
        return news

    def _trust(self, cgroup_id: int, now: float) -> None:
        seconds = max(_RECHECK_SECONDS, len(self._names) / _RECHECKS)
        self._due[cgroup_id] = now + seconds * (1 + cgroup_id % _SPREAD / _SPREAD)
        heapq.heappush(self._order, (self._due[cgroup_id], cgroup_id))

    def remember(self, cgroup_id: int, path: str) -> None:
        """Keeps a path that the kernel gave, for when the cgroup is gone."""
        if len(self._names) >= _MOST_NAMES and cgroup_id not in self._names:
            self.forget(next(iter(self._names)))
        if self._names.get(cgroup_id) != path:
            self._names[cgroup_id] = path
            self._news.add(cgroup_id)

    def forget(self, cgroup_id: int) -> None:
        self._news.add(cgroup_id)
        self._names.pop(cgroup_id, None)
        self._due.pop(cgroup_id, None)
        self._gone.discard(cgroup_id)
        self._asked.discard(cgroup_id)

    def id_of(self, path: str) -> tuple[int, str]:
        """Finds a cgroup that is named as in /proc/PID/cgroup or by its folder.

        Returns:
            Its id, and its path below the mount.

        Raises:
            UsageError: There is no such memory cgroup.
        """
        folder = Path(path)
        if not folder.is_relative_to(self._mount):
            folder = self._mount / path.lstrip("/")
        try:
            inode = folder.stat().st_ino
        except OSError:
            raise UsageError(
                f"There is no memory cgroup {path!r} below {self._mount}. "
                "`kmemtrace top --once` lists those in use."
            ) from None
        if not (folder / "cgroup.procs").exists():
            raise UsageError(f"{path!r} is not a memory cgroup: name its folder below {self._mount}.")
        return inode, self._below_mount(str(folder.resolve()))

    def _look_up(self, cgroup_id: int, now: float) -> None:
        """Asks the kernel; what was known of the cgroup stands where the kernel cannot tell just now."""
        if self._handles:
            try:
                path = self._by_handle(cgroup_id)
            except OSError as error:
                if error.errno not in _NO_HANDLES:
                    return
                self._handles = False
            else:
                self._learn(cgroup_id, path, now)
                return
        self._by_walking(cgroup_id, now)

    def _learn(self, cgroup_id: int, path: str | None, now: float) -> None:
        """Keeps what the kernel said: a path, or by None that there is no such cgroup."""
        if path is None:
            if len(self._gone) >= _MOST_NAMES:
                self._are_gone(set())
            if cgroup_id not in self._gone:
                self._gone.add(cgroup_id)
                self._news.add(cgroup_id)
            self._due.pop(cgroup_id, None)
        else:
            if cgroup_id in self._gone:
                self._gone.remove(cgroup_id)
                self._news.add(cgroup_id)
            self.remember(cgroup_id, path)
            self._trust(cgroup_id, now)

    def _are_gone(self, ids: set[int]) -> None:
        self._news |= ids ^ self._gone
        self._gone = ids

    def _by_handle(self, cgroup_id: int) -> str | None:
        """Returns the path of a living cgroup; None where there is none of this id."""
        handle = struct.pack("=IiQ", 8, _FILEID_KERNFS, cgroup_id)
        fd = self._libc.open_by_handle_at(self._mount_fd, handle, os.O_RDONLY | os.O_CLOEXEC)
        if fd < 0:
            if ctypes.get_errno() in (errno.ESTALE, errno.ENOENT):
                return None
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 as a Path it takes twice as long
        finally:
            os.close(fd)
        return None if path.endswith(_DELETED) else self._below_mount(path)

    def _by_walking(self, cgroup_id: int, now: float) -> None:
        """Learns every living cgroup by one walk, and which of those known before it are gone.

        What is asked soon afterwards and was not known then has to wait for the next walk.
        """
        self._asked.add(cgroup_id)
        if now < self._walk_after:
            return
        known = self._asked | self._names.keys()
        living, complete = self._walk(now)
        self._walk_after = time.monotonic() + _WALK_PAUSE_SECONDS
        self._are_gone(known - living if complete else self._gone - living)
        if complete:
            self._asked = {cgroup_id}
            for gone in self._gone & self._names.keys():
                self._trust(gone, now)

    def _walk(self, now: float) -> tuple[set[int], bool]:
        """Returns the ids of the living cgroups, and whether those are all."""
        living: set[int] = set()
        errors: list[OSError] = []
        for folder, _, _ in os.walk(self._mount, onerror=errors.append):
            try:
                inode = Path(folder).stat().st_ino
            except OSError as error:
                errors.append(error)
                continue
            living.add(inode)
            self._learn(inode, self._below_mount(folder), now)
        # One that was removed meanwhile is none that was overlooked.
        return living, all(error.errno == errno.ENOENT for error in errors)

    def _below_mount(self, folder: str) -> str:
        """Returns a folder's path for showing: where a name is not UTF-8, no file can be opened by it."""
        below = folder.removeprefix(str(self._mount)) or "/"
        return os.fsencode(below).decode(errors="backslashreplace")
