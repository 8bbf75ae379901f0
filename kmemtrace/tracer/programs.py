"""Compiles, loads and attaches the BPF programs with BCC, without kernel headers."""

import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kmemtrace.errors import CannotError
from kmemtrace.foreign import libbcc
from kmemtrace.kernel.attaching import (
    FENTRY,
    FEXIT,
    KprobeLink,
    attach_kprobe,
    attach_tracing,
    load_tracing,
)
from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.plan import Attachment, Probe
from kmemtrace.model.enums import c_defines
from kmemtrace.tracer.find_bcc import import_bcc
from kmemtrace.tracer.sources import probes_folder

_TRACING = {Attachment.FENTRY: FENTRY, Attachment.FEXIT: FEXIT}
_KPROBES = (Attachment.KPROBE, Attachment.KRETPROBE)


class Programs:
    """The BPF programs of one source text, compiled on creation, attached by attach(). Closing the
    process's file descriptors, even by SIGKILL, is all it takes to remove them from the kernel."""

    def __init__(self, text: str, probes: Mapping[str, Probe], defines: Defines) -> None:
        """Compiles `text`, as of program_text(), and makes its maps.

        Raises CannotError; what the compiler said is then in a file it names.
        """
        self._bcc = import_bcc()
        # The tree of small headers that stands in for the kernel's own.
        os.environ["BCC_KERNEL_SOURCE"] = str(probes_folder())
        flags = [f"-D{name}={value}" for name, value in defines.items()] + c_defines()
        flags += [f"-DPROGRAM_{name}" for name in probes]
        flags.append("-g0")  # debug information would take a quarter of the time to compile
        with _quiet():
            self._bpf: Any = self._bcc.BPF(text=text.encode(), cflags=flags)
        self._probes = probes
        self._links: list[int] = []
        self._kprobes: dict[str, KprobeLink] = {}
        self._fds: dict[str, int] = {}

    def attach(self) -> float:
        """Loads each program of the Plan and attaches it to its hook, in the Plan's order. Answers when the
        last was attached, the one that opens records: counting begins with it (kernel_seconds()).

        Raises CannotError where the kernel refuses.
        """
        began = 0.0
        for name, probe in self._probes.items():
            self.fd(name)
            began = kernel_seconds()
            try:
                self._attach(name, probe)
            except Exception as error:  # BCC raises nothing narrower
                self.close()
                raise CannotError(
                    f"The kernel refused a {probe.attachment} on {probe.hook.name} ({error}). "
                    "Run `kmemtrace check` for what this kernel offers."
                ) from error
        return began

    def _attach(self, name: str, probe: Probe) -> None:
        hook, function = probe.hook.name.encode(), name.encode()
        match probe.attachment:
            case Attachment.RAW_TRACEPOINT:
                self._bpf.attach_raw_tracepoint(hook, function)
            case Attachment.KPROBE | Attachment.KRETPROBE:
                self._attach_kprobe(name, hook, at_return=probe.attachment is Attachment.KRETPROBE)
            case Attachment.FENTRY | Attachment.FEXIT:
                self._links.append(attach_tracing(self.fd(name)))

    def _attach_kprobe(self, name: str, hook: bytes, *, at_return: bool) -> None:
        try:
            self._kprobes[name] = attach_kprobe(self.fd(name), hook, at_return=at_return)
        except OSError:  # before 5.15; and if there is another reason, BCC says it too
            attach = self._bpf.attach_kretprobe if at_return else self._bpf.attach_kprobe
            attach(event=hook, fn_name=name.encode())

    def skipped(self, name: str) -> int | None:
        """How often the probe of this attached program was skipped in an interrupt: 0 of one that is no
        kprobe; None where the kernel does not tell."""
        if self._probes[name].attachment not in _KPROBES:
            return 0
        link = self._kprobes.get(name)
        return None if link is None else link.missed()

    def fd(self, name: str) -> int:
        """The descriptor of a program, loaded now if it was not: one of the Plan's, or one that
        user space runs.

        Raises CannotError as the constructor does, with what the verifier said.
        """
        if name not in self._fds:
            with _quiet():
                self._fds[name] = self._load(name)
        return self._fds[name]

    def _load(self, name: str) -> int:
        probe, bpf = self._probes.get(name), self._bcc.BPF
        if probe is not None and probe.attachment in _TRACING:
            code = self._bpf.dump_func(name.encode())
            return load_tracing(code, probe.function_id, _TRACING[probe.attachment], name)
        is_kprobe = probe is not None and probe.attachment in _KPROBES
        loaded = self._bpf.load_func(name.encode(), bpf.KPROBE if is_kprobe else bpf.RAW_TRACEPOINT)
        return int(loaded.fd)

    def map_fd(self, name: str) -> int:
        return int(self._bpf[name.encode()].map_fd)

    def ring(self, name: str) -> Callable[[], list[bytes]]:
        """A function that takes what a ring buffer of ours holds out of it."""
        taken: list[bytes] = []

        def take(_context: object, data: int, size: int) -> None:
            taken.append(ctypes.string_at(data, size))

        self._bpf[name.encode()].open_ring_buffer(take)

        def drain() -> list[bytes]:
            taken.clear()
            self._bpf.ring_buffer_consume()
            return list(taken)

        return drain

    def map_bytes(self) -> int | None:
        """Kernel memory that our maps take, which is charged to the cgroup that we run in; None
        where the kernel does not tell."""
        lib, module = libbcc(self._bcc), self._bpf.module
        total = 0
        for number in range(lib.bpf_num_tables(module)):
            fd = lib.bpf_table_fd_id(module, number)
            info = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
            found = re.search(r"^memlock:\s*(\d+)", info, re.MULTILINE)
            if found is None:
                return None
            total += int(found[1])
        return total

    def close(self) -> None:
        while self._links:
            os.close(self._links.pop())
        while self._kprobes:
            self._kprobes.popitem()[1].close()
        self._bpf.cleanup()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what BCC, clang and the verifier print off the user's screen: into a file, which is
    kept and named only if the work fails. They write to descriptor 2 from C++, so that is what is
    turned aside."""
    with tempfile.NamedTemporaryFile(prefix="kmemtrace-", suffix=".log", delete=False) as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
    path, keep = Path(log.name), False
    try:
        yield
    except Exception as error:  # BCC raises nothing narrower
        keep = True
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{error!r}\n")
        raise CannotError(
            "A BPF program was not accepted. The compiler's and the kernel's messages "
            f"are in {path}; please report it with them."
        ) from error
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        if not keep:
            path.unlink()
