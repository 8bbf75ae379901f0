"""Loads and attaches compiled BPF programs, and makes their maps."""

import mmap
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from kmemtrace.kernel import loading, making
from kmemtrace.kernel.attaching import PerfLink, attach, attach_kprobe, attach_tracepoint
from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.kernel.instructions import calling, putting_in
from kmemtrace.kernel.layout import Defines
from kmemtrace.kernel.making import make_map
from kmemtrace.kernel.plan import Attachment, Probe
from kmemtrace.kernel.refusals import RefusedError, refusing
from kmemtrace.model.enums import c_defines
from kmemtrace.tracer.builds import begun, build
from kmemtrace.tracer.capacity import ENTRIES
from kmemtrace.tracer.compiled import Element
from kmemtrace.tracer.loader import Loader
from kmemtrace.tracer.ring import Ring

_KINDS = {
    Attachment.RAW_TRACEPOINT: loading.RAW_TRACEPOINT,
    Attachment.TRACEPOINT: loading.TRACEPOINT,
    Attachment.KPROBE: loading.KPROBE,
    Attachment.KRETPROBE: loading.KPROBE,
    Attachment.FENTRY: loading.FENTRY,
    Attachment.FEXIT: loading.FEXIT,
}
_KPROBES = (Attachment.KPROBE, Attachment.KRETPROBE)
_MARKS = {name: 1009 + i for i, name in enumerate(ENTRIES)}
"""The compiler is told these small numbers for ENTRIES: how many entries a map has tells which of them it is
to have. For BCC makes the maps when it compiles, and at their size they would take as much memory again: half
a gigabyte on a large machine."""
_PUT_IN = {"SUBTREE_ID": 0x6B6D656D_74726101, "SUBTREE_LEVEL": 0x6B6D656D_74726102}
"""What differs from run to run is put into the instructions when they are loaded, in place of these, so that
what was compiled for one cgroup serves for all. No smaller number has an instruction of 64 bits to itself."""
_COUNTED = (making.HASH, making.LRU_HASH, making.STACKS, making.ARRAY)
"""Types of the maps whose entries may be one of ENTRIES; no array of another size has as many."""


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
        self._compiled = build(text, _flags(probes, defines))
        self._maps: dict[str, int] = {}
        self._make_maps({mark: int(defines[name]) for name, mark in _MARKS.items() if name in defines})
        self._probes = probes
        self._cast = defines.get("CAST_FUNCTION")
        self._numbers = {mark: int(defines[name]) for name, mark in _PUT_IN.items() if name in defines}
        self._links: list[int] = []
        self._perf_links: dict[str, PerfLink] = {}
        self._loader = Loader(self._load)
        self._rings: list[Ring] = []

    @staticmethod
    def compile_ahead(
        text: str, probes: Mapping[str, Probe], defines: Defines
    ) -> AbstractContextManager[bool]:
        """Begins to compile what is asked for by the same arguments while this is entered.

        Answers whether it is compiled: else it is kept, and it takes no time to ask for it.
        """
        return begun(text, _flags(probes, defines))

    def begin_loading(self, names: Sequence[str]) -> None:
        """Begins to load these programs, beside what else is done."""
        self._loader.begin(names)

    def _make_maps(self, entries: Mapping[int, int]) -> None:
        """Makes all maps; `entries` has what a map is to have by what it was compiled with."""
        try:
            for name, one in self._compiled.maps.items():
                shape = one.shape
                if shape.type in _COUNTED:
                    shape = replace(shape, entries=entries.get(shape.entries, shape.entries))
                with refusing(f"the BPF map {name}"):
                    self._maps[name] = make_map(shape, name)
        except RefusedError:
            _close_all(self._maps)
            raise

    def attach(self) -> float:
        """Loads each program of the Plan and attaches it to its hook, in the Plan's order.

        Returns:
            When the last was attached, the one that opens records: counting begins with it
            (kernel_seconds()).

        Raises:
            CannotError: The kernel refuses.
        """
        began = 0.0
        self._loader.end()
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
                at_return = probe.attachment is Attachment.KRETPROBE
                self._perf_links[name] = attach_kprobe(self.fd(name), hook, at_return=at_return)
            case Attachment.FENTRY | Attachment.FEXIT:
                self._links.append(attach(self.fd(name)))

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
        with refusing(f"the BPF program {name}"):
            return self._loader.fd(name)

    def _load(self, name: str) -> int:
        code, probe = self._compiled.functions[name].with_maps(self._maps), self._probes.get(name)
        if self._numbers:
            code = putting_in(code, self._numbers)
        if self._cast is not None:
            code = calling(code, int(self._cast))
        if probe is None:
            return loading.load(code, loading.RAW_TRACEPOINT, name)
        kind = _KINDS[probe.attachment]
        return loading.load(code, kind, name, probe.number if kind.of_function else 0)

    def map_fd(self, name: str) -> int:
        return self._maps[name]

    def mapped(self, name: str, size: int) -> mmap.mmap:
        """Maps an array into this process; the kernel keeps it until that is closed, or forgotten.

        Raises:
            RefusedError: The kernel refuses.
        """
        with refusing(f"to map the BPF array {name}"):
            return mmap.mmap(self._maps[name], size, mmap.MAP_SHARED)

    def has_map(self, name: str) -> bool:
        """Returns whether this map was compiled in."""
        return name in self._maps

    def elements(self, name: str) -> tuple[Element, Element]:
        """Returns key and value of a map as they were compiled."""
        found = self._compiled.maps[name].elements
        if found is None:
            raise KeyError(name)
        return found

    def ring(self, name: str) -> Callable[[], list[bytes]]:
        """Returns a function that takes what a ring buffer of ours holds out of it."""
        with refusing(f"to map the BPF ring buffer {name}"):
            self._rings.append(Ring(self._maps[name]))
        return self._rings[-1].drain

    def map_bytes(self) -> int | None:
        """Adds up the kernel memory that our maps take, which is charged to the cgroup that we run in.

        Returns:
            The bytes; None where the kernel does not tell.
        """
        total = 0
        for fd in self._maps.values():
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
        while self._rings:
            self._rings.pop().close()
        self._loader.close()
        _close_all(self._maps)


def _flags(probes: Mapping[str, Probe], defines: Defines) -> list[str]:
    """Returns the compiler's flags."""
    marks = {name: mark for name, mark in {**_MARKS, **_PUT_IN}.items() if name in defines}
    flags = [f"-D{name}={value}" for name, value in {**defines, **marks}.items()] + c_defines()
    flags += [f"-DPROGRAM_{name}" for name in probes]
    flags.append("-g0")  # debug information would take a quarter of the time to compile
    return flags


def _close_all(fds: dict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])
