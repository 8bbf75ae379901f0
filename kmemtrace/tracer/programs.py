"""Compiles, loads and attaches the BPF programs with BCC, without kernel headers."""

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kmemtrace.foreign import libbcc
from kmemtrace.kernel import loading
from kmemtrace.kernel.attaching import PerfLink, attach, attach_kprobe, attach_tracepoint
from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.plan import Attachment, Probe
from kmemtrace.kernel.refusals import RefusedError, refusing
from kmemtrace.model.enums import c_defines
from kmemtrace.tracer.compiler import compiling
from kmemtrace.tracer.find_bcc import import_bcc
from kmemtrace.tracer.sources import probes_folder

_KINDS = {
    Attachment.RAW_TRACEPOINT: loading.RAW_TRACEPOINT,
    Attachment.TRACEPOINT: loading.TRACEPOINT,
    Attachment.KPROBE: loading.KPROBE,
    Attachment.KRETPROBE: loading.KPROBE,
    Attachment.FENTRY: loading.FENTRY,
    Attachment.FEXIT: loading.FEXIT,
}
_KPROBES = (Attachment.KPROBE, Attachment.KRETPROBE)


class Programs:
    """The BPF programs of one source text, compiled on creation, attached by attach().

    Closing the process's file descriptors, even by SIGKILL, is all it takes to remove them from the kernel.
    """

    def __init__(self, text: str, probes: Mapping[str, Probe], defines: Defines) -> None:
        """Compiles the programs and makes their maps.

        Args:
            text: The source, as program_text() returns it.
            probes: What each program is attached to, by its name, in the order of attaching.
            defines: Constants for the compiler.

        Raises:
            CannotError: BCC is missing, or the text cannot be compiled.
        """
        self._bcc = import_bcc()
        # The tree of small headers that stands in for the kernel's own.
        os.environ["BCC_KERNEL_SOURCE"] = str(probes_folder())
        flags = [f"-D{name}={value}" for name, value in defines.items()] + c_defines()
        flags += [f"-DPROGRAM_{name}" for name in probes]
        flags.append("-g0")  # debug information would take a quarter of the time to compile
        with compiling():
            self._bpf: Any = self._bcc.BPF(text=text.encode(), cflags=flags)
        self._probes = probes
        self._links: list[int] = []
        self._perf_links: dict[str, PerfLink] = {}
        self._fds: dict[str, int] = {}

    def attach(self) -> float:
        """Loads each program of the Plan and attaches it to its hook, in the Plan's order.

        Returns:
            When the last was attached, the one that opens records: counting begins with it
            (kernel_seconds()).

        Raises:
            CannotError: The kernel refuses.
        """
        began = 0.0
        for name, probe in self._probes.items():
            self.fd(name)
            began = kernel_seconds()
            try:
                with refusing(f"a {probe.attachment} on {probe.hook.name}"):
                    self._attach(name, probe)
            except RefusedError:
                self.close()
                raise
        return began

    def _attach(self, name: str, probe: Probe) -> None:
        hook = probe.hook.name.encode()
        match probe.attachment:
            case Attachment.RAW_TRACEPOINT:
                self._links.append(attach(self.fd(name), hook))
            case Attachment.TRACEPOINT:
                self._perf_links[name] = attach_tracepoint(self.fd(name), probe.number)
            case Attachment.KPROBE | Attachment.KRETPROBE:
                self._attach_kprobe(name, hook, at_return=probe.attachment is Attachment.KRETPROBE)
            case Attachment.FENTRY | Attachment.FEXIT:
                self._links.append(attach(self.fd(name)))

    def _attach_kprobe(self, name: str, hook: bytes, *, at_return: bool) -> None:
        try:
            self._perf_links[name] = attach_kprobe(self.fd(name), hook, at_return=at_return)
        except OSError as error:  # before 5.15
            function, attach_by_bcc = name.encode(), self._bpf.attach_kprobe
            # BCC closes what it thinks that it loaded.
            self._bpf.funcs[function] = self._bcc.BPF.Function(self._bpf, function, os.dup(self.fd(name)))
            if at_return:
                attach_by_bcc = self._bpf.attach_kretprobe
            try:
                attach_by_bcc(event=hook, fn_name=function)
            except Exception:  # noqa: BLE001 BCC raises nothing narrower, and the kernel said why before
                raise error from None

    def skipped(self, name: str) -> int | None:
        """Tells how often the probe of this attached program was skipped in an interrupt.

        Returns:
            The number, 0 for one that is no kprobe; None where the kernel does not tell.
        """
        if self._probes[name].attachment not in _KPROBES:
            return 0
        link = self._perf_links.get(name)
        return None if link is None else link.missed()

    def fd(self, name: str) -> int:
        """Returns the descriptor of a program, which is loaded now if it was not.

        The program is one of the Plan's, or one that user space runs.

        Raises:
            RefusedError: The kernel refuses to load it.
        """
        if name not in self._fds:
            with refusing(f"the BPF program {name}"):
                self._fds[name] = self._load(name)
        return self._fds[name]

    def _load(self, name: str) -> int:
        code, probe = self._bpf.dump_func(name.encode()), self._probes.get(name)
        if probe is None:
            return loading.load(code, loading.RAW_TRACEPOINT, name)
        kind = _KINDS[probe.attachment]
        return loading.load(code, kind, name, probe.number if kind.of_function else 0)

    def map_fd(self, name: str) -> int:
        return int(self._bpf[name.encode()].map_fd)

    def has_map(self, name: str) -> bool:
        """Returns whether this map was compiled in."""
        try:
            self._bpf[name.encode()]
        except KeyError:
            return False
        return True

    def element(self, name: str) -> tuple[type[Any], type[Any]]:
        """Returns key and value of a map as they were compiled, as types of ctypes."""
        table = self._bpf[name.encode()]
        return table.Key, table.Leaf

    def ring(self, name: str) -> Callable[[], list[bytes]]:
        """Returns a function that takes what a ring buffer of ours holds out of it."""
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
        """Adds up the kernel memory that our maps take, which is charged to the cgroup that we run in.

        Returns:
            The bytes; None where the kernel does not tell.
        """
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
        while self._perf_links:
            self._perf_links.popitem()[1].close()
        while self._fds:
            os.close(self._fds.popitem()[1])
        self._bpf.cleanup()
