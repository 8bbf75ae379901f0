"""The tracers that are compared, each as a context manager that is attached inside."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.traffic import Traffic
from kmemtrace.errors import CannotError
from kmemtrace.kernel.plan import Plan
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.sources import probes_folder
from kmemtrace.tracer.tracer import Tracer

_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
_SNAPSHOTS = 4
_EMPTY = "int {name}(void *ctx)\n{{\n\treturn 0;\n}}\n"


class EmptyPrograms:
    """Programs that do nothing, on all the hooks that kmemtrace uses: the least that any tracer of
    these events costs."""

    def __init__(self, plan: Plan) -> None:
        text = "".join(_EMPTY.format(name=name) for name in plan.programs)
        # our tree of headers asks for the version; nothing here depends on it
        self._programs = Programs(text, plan.programs, {"KMEMTRACE_KERNEL_VERSION": 0})
        self._names = list(plan.programs)

    def __enter__(self) -> Self:
        self._programs.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.close()

    def infos(self) -> dict[str, ProgramInfo]:
        return {name: program_info(self._programs.fd(name)) for name in self._names}


def memleak_path() -> str | None:
    return shutil.which("memleak-bpfcc") or shutil.which("memleak", path="/usr/share/bcc/tools")


# memleak looks for its tracepoints there; mounted for it alone, where the host has not.
_WITH_TRACEFS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing; exec "$@"',
    "memleak",
)


@contextmanager
def memleak(path: str, every: int = 3600) -> Iterator[subprocess.Popen[str]]:
    """bcc's memleak in kernel mode, attached, which tells what is held every so many seconds. It is
    given our small tree of headers and the two things it needs beside them, so that it too runs
    without the kernel's."""
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(probes_folder(), tree)
        _complete(tree / "include")
        process = subprocess.Popen(
            [*_WITH_TRACEFS, path, str(every)],
            env={**os.environ, "BCC_KERNEL_SOURCE": str(tree), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "Attaching" not in line:
                raise CannotError("memleak did not start; run it by itself to see why.")
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _complete(include: Path) -> None:
    (include / "linux" / "version.h").write_text(
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        "#define LINUX_VERSION_CODE KERNEL_VERSION(6, 0, 0)\n"
    )
    (include / "linux" / "log2.h").write_text(
        "#define roundup_pow_of_two(n) (1UL << (64 - __builtin_clzl((n) - 1)))\n"
    )
    (include / "uapi" / "linux" / "ptrace.h").write_text(
        "struct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx,\n"
        "\tsi, di, orig_ax, ip, cs, flags, sp, ss; };\n"
    )


def warm(tracer: object, traffic: Traffic, units: int) -> None:
    """Does some of the work; a Tracer of ours takes Snapshots meanwhile, as whoever watches does, and so
    learns the traffic's stacks. What it does at its start is through then."""
    for _ in range(_SNAPSHOTS):
        traffic(units)
        if isinstance(tracer, Tracer):
            tracer.snapshot()
    if isinstance(tracer, Tracer):
        tracer.wait_until_judging()


@contextmanager
def run_statistics() -> Iterator[None]:
    """The kernel's BPF run-time statistics, on while measuring and then as they were: they cost
    every BPF program of the machine about 20 ns a run."""
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)
