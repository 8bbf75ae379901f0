"""How the compiler's process ended is told in a sentence."""

import errno
import subprocess

import pytest

from kmemtrace.tracer import compiler_process
from kmemtrace.tracer.compiler import CompilerError
from kmemtrace.tracer.compiler_process import begun_apart, compile_apart


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was killed, as the kernel does where no memory is left"),
        ("import os; os.abort()", "ended by signal 6"),
        ("raise SystemError('LLVM ERROR')", "with status 1: SystemError: LLVM ERROR. Please report it"),
    ],
)
def test_an_end_without_an_answer(program: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_process, "_BEGIN", program)
    with pytest.raises(CompilerError, match=said):
        compile_apart("text", [])
    with begun_apart("text", []), pytest.raises(CompilerError, match=said):
        compile_apart("text", [])


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EAGAIN, "No more processes"), (errno.ENOMEM, "no memory left"), (errno.EMFILE, "ulimit -n")],
)
def test_a_process_that_cannot_be_had(number: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with begun_apart("text", []), pytest.raises(CompilerError, match=said):
        compile_apart("text", [])


def test_what_nobody_waits_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_process, "_BEGIN", "import time; time.sleep(600)")
    with begun_apart("text", []):
        (compiler,) = compiler_process._begun.values()
        assert compiler.poll() is None
    assert compiler.returncode == -9
    assert not compiler_process._begun
