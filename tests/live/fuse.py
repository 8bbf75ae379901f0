"""A file system of one file whose pages are moved, not copied, out of a pipe.

That is what libfuse does with SPLICE_F_MOVE: the kernel takes a pipe's page, which was charged as
kernel memory, uncharges it where it is, and puts it into the page cache. No free, no allocation.
"""

import ctypes
import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.workloads import F_SETPIPE_SZ, PAGE

_LOOKUP, _GETATTR, _OPEN, _READ, _INIT = 1, 3, 14, 15, 26
_ROOT, _FILE = 1, 2
_IN_HEADER, _OUT_HEADER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_UNANSWERED = (2, 36, 42)
"""Forget, interrupt, batch forget."""
_ENOENT, _ENOSYS = 2, 38
_SPLICE_F_MOVE, _MS_NODEV = 1, 4
_FOREVER = 3600
NAME = "file"


@contextmanager
def mounted(folder: Path, pages: int) -> Iterator[Path]:
    """The file, of so many pages, served by a thread of this process. Raises OSError where the
    kernel has no FUSE."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={32 * PAGE}"
    if libc.mount(b"kmemtrace-test", str(folder).encode(), b"fuse", _MS_NODEV, options.encode()):
        os.close(device)
        raise OSError(ctypes.get_errno(), "fuse cannot be mounted")
    thread = threading.Thread(target=_serve, args=(device, pages * PAGE))
    thread.start()
    try:
        yield folder / NAME
    finally:
        libc.umount2(str(folder).encode(), 0)
        thread.join(10)
        os.close(device)


def _serve(device: int, size: int) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 64 * PAGE)
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:  # unmounted
            break
        _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
        body = request[_IN_HEADER.size :]
        if opcode == _READ:
            offset, length = struct.unpack_from("=8xQI", body)
            _move(device, reader, writer, unique, max(0, min(length, size - offset)))
        else:
            error, answer = _answer(opcode, node, body, size)
            if answer is not None:
                os.write(device, _OUT_HEADER.pack(16 + len(answer), -error, unique) + answer)
    os.close(reader)
    os.close(writer)


def _move(device: int, reader: int, writer: int, unique: int, length: int) -> None:
    """Answers a READ with pages of the pipe themselves."""
    os.write(writer, _OUT_HEADER.pack(16 + length, 0, unique))
    os.write(writer, b"k" * length)  # whole pages, so that none goes into the header's page
    libc = ctypes.CDLL(None, use_errno=True)
    moved = libc.splice(reader, None, device, None, ctypes.c_size_t(16 + length), _SPLICE_F_MOVE)
    assert moved == 16 + length, os.strerror(ctypes.get_errno())


def _answer(opcode: int, node: int, body: bytes, size: int) -> tuple[int, bytes | None]:
    """(errno, body of the answer; None where the kernel expects no answer)."""
    if opcode in _UNANSWERED:
        return 0, None
    if opcode == _LOOKUP and body.rstrip(b"\0") != NAME.encode():
        return _ENOENT, b""
    answers = {
        _INIT: lambda: _initial(body),
        _LOOKUP: lambda: _ENTRY.pack(_FILE, 0, _FOREVER, _FOREVER, 0, 0) + _attributes(_FILE, size),
        _GETATTR: lambda: struct.pack("=QII", _FOREVER, 0, 0) + _attributes(node, size),
        _OPEN: lambda: struct.pack("=QII", 0, 0, 0),
    }
    return (0, answers[opcode]()) if opcode in answers else (_ENOSYS, b"")


def _initial(body: bytes) -> bytes:
    major, minor, readahead = struct.unpack_from("=III", body)
    flags, most_write, most_pages = 0, 1 << 17, 32
    rest = (12, 9, most_write, 1, most_pages, 0, 0, *[0] * 7)
    return struct.pack("=IIIIHHIIHHI7I", major, minor, readahead, flags, *rest)


def _attributes(node: int, size: int) -> bytes:
    mode = 0o40755 if node == _ROOT else 0o100644
    size = 0 if node == _ROOT else size
    return _ATTR.pack(node, size, -(-size // 512), 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)
