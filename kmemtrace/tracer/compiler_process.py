"""Runs the compiler in a process of its own, and has both ends of what is said to it.

So its memory is gone with it, and where it is killed, or crashes, that can be told.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from kmemtrace.errors import CannotError, ExitStatus
from kmemtrace.foreign import libc
from kmemtrace.limits import explanation
from kmemtrace.tracer import compiled
from kmemtrace.tracer.compiled import Compiled
from kmemtrace.tracer.compiler import CompilerError, compile_text
from kmemtrace.tracer.sources import probes_folder

_BEGIN = (
    "import json, sys; ours, paths = json.loads(sys.argv[1]); sys.path.append(ours); "
    "from kmemtrace.tracer.compiler_process import serve; sys.path += paths; serve()"
)
"""The child's program. Our package comes behind the standard library, which nothing beside it may shadow, and
then all that the parent finds BCC by."""
_KEY = "compiler"
_PR_SET_PDEATHSIG = 1
_KILLED = (
    "BCC's compiler was killed, as the kernel does where no memory is left: free some, or start kmemtrace "
    "where more is allowed."
)


_begun: dict[bytes, subprocess.Popen[bytes]] = {}
"""By what was asked of them, the compilers that run and that nobody waits for yet."""


def compile_apart(text: str, flags: Sequence[str]) -> Compiled:
    """Compiles a source text in another process.

    Raises:
        CannotError: BCC is missing, the text cannot be compiled, or a map cannot be made.
    """
    request = _request(text, flags)
    try:
        compiler = _begun.pop(request, None) or _start(request)
    except OSError as error:
        raise CompilerError(_why_not_run(error)) from error
    with compiler:
        try:
            answer, said = compiler.communicate()
        except BaseException:
            compiler.kill()
            compiler.wait()  # leaving the block does not, after a Ctrl-C
            raise
    if compiler.returncode == ExitStatus.CANNOT:
        refused = json.loads(answer)
        raise (CompilerError if refused["error"] == CompilerError.__name__ else CannotError)(refused["says"])
    if compiler.returncode != 0:
        raise CompilerError(_why_ended(compiler.returncode, said.decode(errors="replace")))
    return compiled.read(answer, _KEY)


@contextmanager
def begun_apart(text: str, flags: Sequence[str]) -> Iterator[None]:
    """Begins what compile_apart() then waits for, while this is entered; where it cannot, that tells why."""
    request = _request(text, flags)
    with suppress(OSError):
        _begun[request] = _start(request)
    try:
        yield
    finally:
        compiler = _begun.pop(request, None)
        if compiler is not None:
            compiler.kill()
            compiler.communicate()


def _request(text: str, flags: Sequence[str]) -> bytes:
    return json.dumps({"text": text, "flags": list(flags), "parent": os.getpid()}).encode()


def _start(request: bytes) -> subprocess.Popen[bytes]:
    ours = str(Path(__file__).resolve().parents[2])
    paths = json.dumps((ours, [one for one in sys.path if one]))
    options = ["-P", "-s", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    # As by -I Python takes no notice of its environment, but for where it is installed itself.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") or k == "PYTHONHOME"}
    with os.fdopen(os.memfd_create("kmemtrace-request"), "wb") as file:
        file.write(request)
        file.flush()
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, *options, "-c", _BEGIN, paths],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # The tree of small headers that stands in for the kernel's own.
            env={**environment, "BCC_KERNEL_SOURCE": str(probes_folder())},
            # A Ctrl-C is for us, who end it: it would tell of it too.
            process_group=0,
        )


def _why_not_run(error: OSError) -> str:
    if error.errno == errno.EAGAIN:
        return (
            "No more processes can be started here, and BCC's compiler needs one: raise the limit "
            "(ulimit -u, or pids.max of the cgroup), or end other processes."
        )
    return explanation(error) or f"BCC's compiler could not be started ({error.strerror}: {error.filename})."


def _why_ended(status: int, said: str) -> str:
    if status == -signal.SIGKILL:
        return _KILLED
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return f"BCC's compiler ended {how}: {last}. Please report it."


def serve() -> NoReturn:
    """Compiles what standard input asks for, and answers on standard output: what the child does."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever BCC prints is no answer
    request = json.loads(sys.stdin.buffer.read())
    _end_with(request["parent"])
    status = 0
    try:
        data = compiled.write(compile_text(request["text"], request["flags"]), _KEY)
    except Exception as error:
        says = str(error) if isinstance(error, CannotError) else explanation(error)
        if says is None:
            raise
        data, status = json.dumps({"error": type(error).__name__, "says": says}).encode(), ExitStatus.CANNOT
    with os.fdopen(answer, "wb") as file:
        file.write(data)
    # At once: the kernel takes the maps and the compiler's memory back faster than Python and LLVM do.
    os._exit(status)


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, however that ends."""
    libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(ExitStatus.INCONCLUSIVE)
