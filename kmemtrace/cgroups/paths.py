"""A cgroup's path from its id, without walking the tree."""

import ctypes
import errno
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kmemtrace.cgroups.mounts import MemoryHierarchy
from kmemtrace.errors import UsageError

_FILEID_KERNFS = 0xFE
"""Type of a file handle that holds a kernfs id: <linux/exportfs.h>, 5.5+."""

_RECHECK_SECONDS = 30.0
"""How long a path is taken for granted at least: v1 cgroups can be renamed, and the event of a removal can
be missed."""
_SPREAD = 16
"""Up to twice as long, by the id: 10,000 that fall due at once take as long as all else of a reading."""

_MOST_NAMES = 1 << 16
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Resolved:
    path: str | None
    """Below the mounted root of the hierarchy; None when it was never learnt."""
    alive: bool
    """False only when the kernel says that there is no such cgroup any more."""


class CgroupPaths:
    """Names of the cgroups of one hierarchy. Holds its mount open until closed."""

    def __init__(self, hierarchy: MemoryHierarchy) -> None:
        self._mount = hierarchy.mount
        self._mount_fd = os.open(hierarchy.mount, os.O_RDONLY | os.O_DIRECTORY)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handles = True
        self._names: dict[int, str] = {}
        self._due: dict[int, float] = {}

    def close(self) -> None:
        os.close(self._mount_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve(self, cgroup_id: int) -> Resolved:
        """The path as it is now; for a removed cgroup the last one known."""
        now = time.monotonic()
        if now < self._due.get(cgroup_id, 0.0):
            return Resolved(self._names.get(cgroup_id), alive=True)
        path = self._look_up(cgroup_id)
        if path is None:
            self._due.pop(cgroup_id, None)
            return Resolved(self._names.get(cgroup_id), alive=False)
        self.remember(cgroup_id, path)
        self._trust(cgroup_id, now)
        return Resolved(path, alive=True)

    def _trust(self, cgroup_id: int, now: float) -> None:
        self._due[cgroup_id] = now + _RECHECK_SECONDS * (1 + cgroup_id % _SPREAD / _SPREAD)

    def remember(self, cgroup_id: int, path: str) -> None:
        """Keeps a path that the kernel gave, for when the cgroup is gone."""
        if len(self._names) >= _MOST_NAMES and cgroup_id not in self._names:
            self.forget(next(iter(self._names)))
        self._names[cgroup_id] = path

    def forget(self, cgroup_id: int) -> None:
        self._names.pop(cgroup_id, None)
        self._due.pop(cgroup_id, None)

    def id_of(self, path: str) -> tuple[int, str]:
        """(id, path below the mount) of a cgroup named as in /proc/PID/cgroup or by its folder.

        Raises UsageError where there is none.
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

    def _look_up(self, cgroup_id: int) -> str | None:
        """Path of a living cgroup; None where there is none of this id."""
        if self._handles:
            try:
                return self._by_handle(cgroup_id)
            except OSError:  # before 5.5, or without CAP_DAC_READ_SEARCH
                self._handles = False
        return self._by_walking(cgroup_id)

    def _by_handle(self, cgroup_id: int) -> str | None:
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

    def _by_walking(self, cgroup_id: int) -> str | None:
        """One walk learns every living cgroup, so the next misses are rare."""
        now, found = time.monotonic(), None
        for folder, _, _ in os.walk(self._mount):
            inode, path = Path(folder).stat().st_ino, self._below_mount(folder)
            self.remember(inode, path)
            self._trust(inode, now)
            if inode == cgroup_id:
                found = path
        return found

    def _below_mount(self, folder: str) -> str:
        return folder.removeprefix(str(self._mount)) or "/"
