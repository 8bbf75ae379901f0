"""Keeps compiled programs between runs, in files that nobody but root could have written.

Who can write one has the kernel run what is in it. So a folder or file that is not root's alone is left
aside, without a word, as is whatever else is wrong: the compiler is asked again, and only time is lost.
"""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kmemtrace.tracer.compiled import MOST_BYTES

VARIABLE = "KMEMTRACE_CACHE"
"""Name of the environment variable that names another folder, or is `off`."""
FOLDER = Path("/var/cache/kmemtrace")
MOST_FILES = 16
"""Some four kinds of programs for each of the last kernels and versions, at 100 KB each."""

_OFF = "off"
_PRIVATE = 0o077
"""Bits of a mode that give anything to others."""
_KEY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"[0-9a-f]{64}\.\d+")
_UNFINISHED_SECONDS = 600.0
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def folder() -> Path | None:
    """Returns where programs are kept; None where they are not."""
    if os.geteuid() != 0:
        return None
    named = os.environ.get(VARIABLE)
    if named is None:
        return FOLDER
    path = Path(named)
    return path if named != _OFF and path.is_absolute() else None


def fetch(key: str) -> bytes | None:
    """Returns what was kept under a key; None where there is nothing, or nothing to be trusted."""
    try:
        with _opened(folder(), make=False) as where:
            fd = os.open(key, os.O_RDONLY | _SAFELY, dir_fd=where)
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not _is_ours(found):
                    return None
                data = file.read(MOST_BYTES + 1)
                with suppress(OSError):  # of a file system that is read-only
                    os.utime(fd)  # what is used stays, when there is too much
    except OSError:
        return None
    return data if len(data) <= MOST_BYTES else None


def keep(key: str, data: bytes) -> None:
    """Keeps data under a key, where that can be done; the oldest goes when there is too much."""
    with suppress(OSError), _opened(folder(), make=True) as where:
        unfinished = f"{key}.{os.getpid()}"
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600, dir_fd=where)
        try:
            # Not synced: what a crash of the machine tears is found by its sum.
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            os.rename(unfinished, key, src_dir_fd=where, dst_dir_fd=where)
        except BaseException:
            os.unlink(unfinished, dir_fd=where)
            raise
        _remove_oldest(where)


@contextmanager
def _opened(path: Path | None, *, make: bool) -> Iterator[int]:
    """Opens the folder.

    Raises:
        OSError: There is none, or it is not ours alone.
    """
    if path is None:
        raise FileNotFoundError
    if make:
        with suppress(FileExistsError):
            path.mkdir(0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
    try:
        if not _is_ours(os.fstat(fd)):
            raise PermissionError
        yield fd
    finally:
        os.close(fd)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & _PRIVATE


def _remove_oldest(where: int) -> None:
    """Removes all but the newest files, and what was left by one that was ended while it wrote."""
    kept = []
    for name in os.listdir(where):
        with suppress(FileNotFoundError):  # another may be at it
            changed = os.stat(name, dir_fd=where, follow_symlinks=False).st_mtime
            if _KEY.fullmatch(name):
                kept.append((changed, name))
            elif _UNFINISHED.fullmatch(name) and changed < time.time() - _UNFINISHED_SECONDS:
                os.unlink(name, dir_fd=where)
    for _, name in sorted(kept)[:-MOST_FILES]:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=where)
