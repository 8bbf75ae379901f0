"""Lays out a recording's folder: what stands where, and how it is told that all of it is as it was written.

    FOLDER/meta.json                          what the folder is, and its newest run
    FOLDER/00000017-20260301T120500Z/         a minute, each table a file of its own
        meta.json  cgroups.parquet  sites.parquet  ...  findings.jsonl
    FOLDER/00000000-00000016-20260301T114800Z/   minutes that were merged, by their first and last number

A minute is written under a hidden name, and renamed when all of it is on the disk: it is there whole, or not
at all. Its number, which never goes back as a clock can, is its place in the recording. One whose numbers are
among those of another was merged into that, and is no part of the recording any more.
"""

import calendar
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmemtrace import __version__
from kmemtrace.errors import ExitStatus, KmemtraceError, UsageError
from kmemtrace.recording.schema import FORMAT, SCHEMA_VERSION

META = "meta.json"
FINDINGS = "findings.jsonl"
_MINUTE = re.compile(r"(\d{8,})(?:-(\d{8,}))?-\d{8}T\d{6}Z")
_PARTIAL, _REMOVED = ".partial-", ".removed-"
_SEAL = "crc32"
SAMPLE = "sample"
"""What the recording that comes with kmemtrace is called."""


class DamagedError(KmemtraceError):
    """A file of a recording is not as it was written."""

    status = ExitStatus.INCONCLUSIVE


@dataclass(frozen=True, slots=True, order=True)
class Minute:
    """A minute of a recording, or several that were merged; it may have been removed since it was listed."""

    number: int
    """Its own, or that of the first one."""
    last: int
    """Its own, or that of the last one."""
    path: Path

    @property
    def is_merged(self) -> bool:
        """Whether it is minutes that were merged: one alone may be as well."""
        found = _MINUTE.fullmatch(self.path.name)
        return found is not None and found[2] is not None

    def covers(self, other: "Minute") -> bool:
        """Returns whether another minute was merged into this."""
        return self.path != other.path and self.number <= other.number and other.last <= self.last

    def bytes(self) -> int:
        """Returns the size of its files."""
        return sum(one.stat().st_size for one in self.path.iterdir())


def named(folder: Path) -> Path:
    """Returns the folder that a user names: the sample's, unless there is a folder of that name."""
    if folder == Path(SAMPLE) and not folder.exists():
        return Path(__file__).with_name(SAMPLE)
    return folder


def minutes(folder: Path) -> list[Minute]:
    """Returns the minutes of a recording in their order, but for those that were merged into others."""
    return [one for one, others in _covered(folder) if not others]


def clear_merged(folder: Path) -> None:
    """Removes the minutes that are there still, though they were merged into others."""
    for one, others in _covered(folder):
        if others:
            remove(one.path)


def _covered(folder: Path) -> Iterator[tuple[Minute, bool]]:
    """Yields all minutes in their order, with whether each was merged into another."""
    before, found = None, _named_minutes(folder)
    # What is renamed and removed while a folder is listed may be in no list: twice the same is whole.
    while found != before:
        before, found = found, _named_minutes(folder)
    reach: Minute | None = None
    for one in found:
        covered = reach is not None and reach.covers(one)
        yield one, covered
        if not covered:
            reach = one


def _named_minutes(folder: Path) -> list[Minute]:
    found = ((_MINUTE.fullmatch(one.name), one) for one in folder.iterdir())
    listed = [Minute(int(match[1]), int(match[2] or match[1]), one) for match, one in found if match]
    return sorted(listed, key=lambda one: (one.number, -one.last, not one.is_merged))


def is_minute(path: Path) -> bool:
    """Returns whether a folder is a minute of a recording, by its name."""
    return _MINUTE.fullmatch(path.name) is not None


def minute_path(folder: Path, number: int, begin: str) -> Path:
    """Returns where a minute stands; `begin` is when it begins, as 20260301T120500Z."""
    return folder / f"{number:08d}-{begin}"


def merged_path(folder: Path, first: Minute, last: Minute) -> Path:
    """Returns where minutes stand that are merged into one, which begins when the first does."""
    return folder / f"{first.number:08d}-{last.last:08d}-{first.path.name.rpartition('-')[2]}"


def begin_of(minute: Minute) -> int:
    """Returns when a minute begins, as its name has it, in seconds since the epoch."""
    return calendar.timegm(time.strptime(minute.path.name.rpartition("-")[2], "%Y%m%dT%H%M%SZ"))


def partial(path: Path) -> Path:
    """Returns where a file or a minute stands while it is written."""
    return path.with_name(_PARTIAL + path.name)


def remove(minute: Path) -> None:
    """Removes a minute: first from among those that are there, then from the disk."""
    hidden = minute.with_name(_REMOVED + minute.name)
    minute.rename(hidden)
    shutil.rmtree(hidden)


def clear_left_over(folder: Path) -> None:
    """Removes what a writer that was killed had not finished writing, or removing."""
    for one in folder.iterdir():
        if one.name.startswith((_PARTIAL, _REMOVED)):
            if one.is_dir():
                shutil.rmtree(one)
            else:
                one.unlink()


def is_empty(folder: Path) -> bool:
    """Returns whether there is nothing in a folder but what a writer that was killed may leave."""
    return all(one.name.startswith((_PARTIAL, _REMOVED)) for one in folder.iterdir())


def write_file(path: Path, data: Any) -> None:
    """Writes a file, and returns when it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole, or as it was before."""
    write_file(partial(path), data)
    rename_whole(partial(path), path)


def write_minute(path: Path, files: Iterable[tuple[str, Any, int]], meta: Mapping[str, Any]) -> Path:
    """Writes a minute where it stands while it is written, for rename_whole(): whole, or not at all.

    Args:
        path: Where it is to stand then.
        files: The name, the bytes and the number of rows of each file.
        meta: What meta.json tells beside the files.

    Returns:
        Where it is.
    """
    written = partial(path)
    try:
        written.mkdir()
        told = {}
        for name, data, rows in files:
            write_file(written / name, data)
            told[name] = {"rows": rows, "bytes": len(data), "crc32": crc(data)}
        write_file(written / META, sealed({**meta, "files": told}))
    except BaseException:
        with suppress(OSError):  # that which is told first is what matters
            shutil.rmtree(written)
        raise
    return written


def rename_whole(written: Path, path: Path) -> None:
    """Gives a file or folder, all of which is on the disk, its name, and returns when that is as well."""
    if written.is_dir():
        _sync(written)
    written.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sealed(told: Mapping[str, Any]) -> bytes:
    """Returns the text of a meta.json, with a sum over all of it."""
    known = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "version": __version__, **told}
    return (json.dumps(known | {_SEAL: _sum(known)}, indent=2) + "\n").encode()


def unsealed(path: Path) -> dict[str, Any]:
    """Reads a meta.json.

    Raises:
        DamagedError: It is not as it was written.
        FileNotFoundError: It is not there; or NotADirectoryError, for its folder is a file.
        UsageError: It is none of ours, or of a later version.
    """
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise damaged(path, "it is no JSON") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise UsageError(f"{path} is not of a recording of kmemtrace: name the folder that `record` wrote.")
    version = told.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UsageError(
            f"{path.parent} was written by a newer kmemtrace ({told.get('version')}, schema {version}): this "
            f"one reads schemas up to {SCHEMA_VERSION}, so upgrade it."
        )
    if told.pop(_SEAL, None) != _sum(told):
        raise damaged(path, "its checksum is another")
    return told


def _sum(told: Mapping[str, Any]) -> str:
    return crc(json.dumps(told, sort_keys=True).encode())


def crc(data: Any) -> str:
    """Returns the checksum of bytes as text."""
    return f"{zlib.crc32(data):08x}"


def damaged(path: Path, why: str) -> DamagedError:
    """Returns the error of a file that is not as it was written, which says what to do about it."""
    minute = path.parent if _MINUTE.fullmatch(path.parent.name) else path
    rest = f"Without {minute} the rest can be read" if minute != path else "Restore it, or record anew"
    return DamagedError(f"{path} is damaged: {why}. {rest}.")
