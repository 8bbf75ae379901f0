"""Gives compiled programs: those of an earlier run where they are the same, else compiled now."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kmemtrace import __version__
from kmemtrace.kernel import btf
from kmemtrace.tracer import cache, compiled
from kmemtrace.tracer.compiled import Compiled, NotCompiledError
from kmemtrace.tracer.find_bcc import find_binding
from kmemtrace.tracer.sources import probes_folder

_NOTES = Path("/sys/kernel/notes")
"""Has the kernel's build id, which two builds of one release do not share."""


def build(text: str, flags: Sequence[str]) -> Compiled:
    """Returns the programs of a source text.

    Raises:
        CannotError: BCC is missing, or the text cannot be compiled.
    """
    if cache.folder() is None:
        return _compile(text, flags)
    key = _key(text, flags)
    kept = cache.fetch(key)
    if kept is not None:
        try:
            return compiled.read(kept, key)
        except NotCompiledError:
            pass  # damaged: made anew, in its place
    made = _compile(text, flags)
    cache.keep(key, compiled.write(made, key))
    return made


@contextmanager
def begun(text: str, flags: Sequence[str]) -> Iterator[bool]:
    """Begins to compile a source text, beside what else is done, where it is not kept.

    While this is entered build() takes what was begun.

    Yields:
        Whether it is compiled: else it is kept, and build() has it at once.
    """
    if cache.folder() is not None and cache.fetch(_key(text, flags)) is not None:
        yield False
        return
    from kmemtrace.tracer.compiler_process import begun_apart  # noqa: PLC0415 see _compile()

    with begun_apart(text, flags):
        yield True


def _compile(text: str, flags: Sequence[str]) -> Compiled:
    from kmemtrace.tracer.compiler_process import compile_apart  # noqa: PLC0415 mostly they are kept

    return compile_apart(text, flags)


def _key(text: str, flags: Sequence[str]) -> str:
    """Returns a sum over all that the programs are made of and for."""
    total = hashlib.sha256()
    words = (__version__, *os.uname()[2:], text, *flags)
    for data in (*(one.encode() for one in words), *_files()):
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _files() -> Iterator[bytes]:
    """Yields what tells the kernel's build, BCC and the headers from others."""
    try:
        yield _NOTES.read_bytes()
    except OSError:  # a kernel without sysfs's notes: its types are as good, and take longer
        yield btf.VMLINUX.read_bytes() if btf.VMLINUX.exists() else b""
    binding = find_binding()
    for path in (binding / "__init__.py", binding / "libbcc.py", binding / "version.py"):
        if path.exists():
            found = path.stat()
            yield f"{path} {found.st_size} {found.st_mtime_ns}".encode()
    headers = probes_folder() / "include"
    for path in sorted(headers.rglob("*.h")):
        yield f"{path.relative_to(headers)}".encode()
        yield path.read_bytes()
