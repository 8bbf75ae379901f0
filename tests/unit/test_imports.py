"""What is imported before the kernel has the programs to verify: until then everybody waits for it."""

import subprocess
import sys

import pytest

HEAVY = frozenset(
    {"asyncio", "bcc", "kmemtrace.tracer.compiler", "kmemtrace.tracer.tracer", "numpy", "pandas", "pyarrow"}
    | {"ssl", "textual"}
)


@pytest.mark.parametrize(
    ("command", "needed"),
    [("top", set()), ("leaks", set()), ("record", set()), ("export", {"asyncio", "ssl"})],
)
def test_nothing_is_imported_that_can_wait(command: str, needed: set[str]) -> None:
    code = f"import sys, kmemtrace.commands.{command}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == needed
