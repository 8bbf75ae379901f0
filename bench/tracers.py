"""The tracers that are compared, each as a context manager that is attached inside."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from kmemtrace.errors import CannotError
from kmemtrace.kernel.plan import Attachment, Plan
from kmemtrace.tracer.find_bcc import import_bcc
from kmemtrace.tracer.program_info import ProgramInfo, program_info
from kmemtrace.tracer.sources import probes_folder

_EMPTY = "int {name}(void *ctx)\n{{\n\treturn 0;\n}}\n"


class EmptyPrograms:
    """Programs that do nothing, on the hooks that kmemtrace uses: the least that any tracer of
    these events costs."""

    def __init__(self, plan: Plan) -> None:
        raw = Attachment.RAW_TRACEPOINT
        self._hooks = {n: p.hook for n, p in plan.programs.items() if p.attachment is raw}
        os.environ["BCC_KERNEL_SOURCE"] = str(probes_folder())
        bcc = import_bcc()
        text = "".join(_EMPTY.format(name=name) for name in self._hooks)
        self._bpf: Any = bcc.BPF(text=text, cflags=["-DKMEMTRACE_KERNEL_VERSION=0"])
        self._fds = {n: self._bpf.load_func(n, bcc.BPF.RAW_TRACEPOINT).fd for n in self._hooks}

    def __enter__(self) -> Self:
        for name, hook in self._hooks.items():
            self._bpf.attach_raw_tracepoint(hook.name.encode(), name.encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._bpf.cleanup()

    def infos(self) -> dict[str, ProgramInfo]:
        return {name: program_info(fd) for name, fd in self._fds.items()}


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
def memleak(path: str) -> Iterator[None]:
    """bcc's memleak in kernel mode, attached. It is given our small tree of headers and the two
    things it needs beside them, so that it too runs without the kernel's."""
    with tempfile.TemporaryDirectory(prefix="kmemtrace-bench-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(probes_folder(), tree)
        _complete(tree / "include")
        process = subprocess.Popen(
            [*_WITH_TRACEFS, path, "3600"],
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
            yield
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
