"""Runs the compiler in BCC's library: where it works, what it says, and why it could not."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kmemtrace.errors import CannotError
from kmemtrace.kernel.refusals import why_refused
from kmemtrace.limits import named

_MAP = re.compile(r"could not open bpf map: (\w+)")
_ERROR = re.compile(r"\berror: (.*)")
_STDERR = 2


class CompilerError(CannotError):
    """Our programs were not compiled, or their maps not made; the message says why."""


@contextmanager
def compiling() -> Iterator[None]:
    """Makes it safe to run clang inside.

    It prints from C++ to descriptor 2: that is turned aside, into memory, since there may be no disk to write
    to. And it wants a working directory that exists.

    Raises:
        CompilerError: It failed.
    """
    with ExitStack() as stack:
        messages = os.memfd_create("kmemtrace-compiler")
        stack.callback(os.close, messages)
        with _turned_aside(messages), _somewhere():
            try:
                yield
            except Exception as error:  # noqa: BLE001 BCC raises nothing narrower
                failure = error
            else:
                return
        said = os.pread(messages, os.fstat(messages).st_size, 0).decode(errors="replace")
        raise CompilerError(_why(said, failure)) from failure


@contextmanager
def _turned_aside(to: int) -> Iterator[None]:
    saved = os.dup(_STDERR)
    os.dup2(to, _STDERR)
    try:
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)


@contextmanager
def _somewhere() -> Iterator[None]:
    """Works in / meanwhile, if the working directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        here = os.open(".", os.O_PATH)
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(here)
            os.close(here)
    else:
        yield


def _why(said: str, failure: Exception) -> str:
    refused = named(said) or (failure if isinstance(failure, OSError) else None)
    made = _MAP.search(said)
    if refused is not None:
        return why_refused(f"the BPF map {made[1]}" if made else "what the compiler asked for", refused)
    error = _ERROR.search(said)
    words = error[1].strip() if error else f"{failure}"
    kept = _kept(said)
    return f"BCC's compiler could not compile kmemtrace's BPF programs: {words}. Please report it{kept}."


def _kept(said: str) -> str:
    """Says where to find the messages, if they could be written to a file."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="kmemtrace-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(said)
    except OSError:
        return ""
    return f" with the messages in {Path(file.name)}"
