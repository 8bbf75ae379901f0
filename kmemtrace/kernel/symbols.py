"""Reads names of the kernel's functions and addresses of its variables, from /proc/kallsyms.

BCC has them too, but before 0.29 it gives none to an effective user other than root (0fcb3461), and never
learns of a module that is loaded later.
"""

import mmap
import os
import re
import threading
from bisect import bisect_right
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kmemtrace.foreign import one_blas_thread, read_whole
from kmemtrace.kernel.beside import beside

if TYPE_CHECKING:
    from kmemtrace.kernel.function_table import FunctionTable

_KALLSYMS = Path("/proc/kallsyms")
_MODULES = Path("/proc/modules")
_KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")

_VARIABLES = (
    "__per_cpu_offset",
    "__preempt_count",
    "_etext",
    "_stext",
    "mem_cgroup_stats_index",
    "memcg_stock",
    "obj_stock",
    "page_offset_base",
    "pcpu_chunk_lists",
    "pcpu_hot",
    "pcpu_nr_slots",
    "vmemmap_base",
)
_NAMED = re.compile(rb"^(?!0{16})[0-9a-f]{16} [tTwW] ", re.MULTILINE)
_LARGEST_FUNCTION = 1 << 16
"""Bytes, more than any function has: what is farther behind a module's symbol belongs to something else."""


class _Listing:
    """What /proc/kallsyms has."""

    def __init__(self, raw: mmap.mmap | bytes) -> None:
        self._raw = raw
        self._variables: dict[str, int] = {}
        self.named = _NAMED.search(raw) is not None
        """Whether it has a function whose address it does not hide."""

    def variable(self, name: str) -> int:
        """Returns the address of one of _VARIABLES; 0 where there is none of the name, or it is hidden."""
        found = self._variables.get(name)
        if found is None:  # it takes 1 ms to look for one
            found = self._variables[name] = self._address(name)
        return found

    def functions(self) -> "FunctionTable":
        """Makes the table of functions, once, for what is read goes with it: it is 10 MB."""
        with one_blas_thread():
            from kmemtrace.kernel.function_table import FunctionTable  # noqa: PLC0415 the Plan needs no names
        for name in _VARIABLES:
            self.variable(name)
        made, self._raw = FunctionTable(self._raw), b""
        return made

    def _address(self, name: str) -> int:
        raw = self._raw
        at = raw.find(b" %s\n" % name.encode())
        return 0 if at < 0 else int(raw[raw.rfind(b"\n", 0, at) + 1 : at].split()[0], 16)


@dataclass(frozen=True, slots=True)
class Code:
    """Where the kernel's code lies that stays as it is: its own, and that of the modules loaded now."""

    own: range
    modules: tuple[tuple[int, int], ...]
    """Begin and end of each, ascending."""
    listing: bytes
    """Their names too: another module at the same place is other code."""

    def has(self, address: int) -> bool:
        """Tells whether an address is in it, and not that of a BPF program, say, or of a trampoline."""
        if address in self.own:
            return True
        at = bisect_right(self.modules, (address, 1 << 64)) - 1
        return at >= 0 and address < self.modules[at][1]


class Symbols:
    """The kernel's symbols, as the table was when this was made, or when a module was loaded since."""

    def __init__(
        self, table: Path = _KALLSYMS, modules: Path = _MODULES, restrict: Path = _KPTR_RESTRICT
    ) -> None:
        # Held open: who may see addresses is decided when the file is opened, and a reader that gives up
        # its capabilities once attached has to read it again when a module is loaded.
        self._files = [_open(table), _open(modules)]
        self._loaded, self._restrict = b"", restrict
        self._lock = threading.Lock()
        self._functions: Future[FunctionTable] | None = None
        self._read()

    @cached_property
    def text(self) -> range:
        """Addresses of the kernel's own code, without modules and BPF; all where they are hidden."""
        begin, end = (self.variable(name) or 0 for name in ("_stext", "_etext"))
        return range(begin, end) if 0 < begin < end else range(1 << 64)

    @cached_property
    def hidden(self) -> str | None:
        """Says why there are no names, and what would help; None where there are."""
        return None if self._listing.result().named else _why_hidden(self._files[0], self._restrict)

    def close(self) -> None:
        self._listing.exception()  # what reads the files is through
        for file in self._files:
            if file is not None:
                os.close(file)
        self._files = [None, None]

    def code(self) -> Code:
        """Returns where code lies now; nowhere where addresses are hidden."""
        listing, modules = self._list_modules(), []
        for line in listing.splitlines():
            _, size, place = line.split()
            begin = int(place, 16)
            if begin:
                modules.append((begin, begin + int(size)))
        own = self.text if self.hidden is None else range(0)
        return Code(own, tuple(sorted(modules)), listing)

    def variable(self, name: str) -> int | None:
        """Returns the address of one of a few variables, where this kernel has it and tells it.

        It takes CONFIG_KALLSYMS_ALL.
        """
        assert name in _VARIABLES
        return self._listing.result().variable(name) or None

    def begin_naming(self) -> None:
        """Begins to make the table that function() looks in, beside what else is done."""
        with self._lock:
            if self._functions is None:
                listing = self._listing
                self._functions = beside(lambda: listing.result().functions(), "symbols")

    def function(self, address: int) -> str | None:
        """Names the code at an address as `function+0xoffset`; None where there is no name for it."""
        own = address in self.text
        if not own and self._list_modules() != self._loaded:
            self._read()
        self.begin_naming()
        assert self._functions is not None
        found = self._functions.result().before(address)
        if found is None or (not own and found.offset >= _LARGEST_FUNCTION):
            return None
        return f"{found.name}+{found.offset:#x}"

    def _read(self) -> None:
        """Begins to read the table, which takes the kernel 60 ms."""
        self._loaded = self._list_modules()  # first: one that is loaded meanwhile is noticed later
        self._listing = beside(lambda: _Listing(_whole(self._files[0])), "symbols")
        self._functions = None

    def _list_modules(self) -> bytes:
        """Returns names, sizes and places of the loaded modules, without what changes with their use."""
        lines = (line.split() for line in _content(self._files[1]).splitlines())
        return b"\n".join(b" ".join(fields[:2] + fields[5:6]) for fields in lines)


@cache
def kernel_symbols() -> Symbols:
    """Returns the symbols of the kernel that we run on, read once."""
    return Symbols()


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _whole(file: int | None) -> mmap.mmap | bytes:
    try:
        return b"" if file is None else read_whole(file)
    except (OSError, ValueError):  # it cannot be read; it is empty
        return b""


def _content(file: int | None) -> bytes:
    if file is None:
        return b""
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(file, 1 << 20), b""))


def _why_hidden(table: int | None, restrict: Path) -> str:
    if table is None:
        return "/proc/kallsyms cannot be read (CONFIG_KALLSYMS): functions have no names"
    try:
        everybody = restrict.read_text(encoding="ascii").strip() == "2"
    except OSError:
        everybody = False
    if everybody:
        return (
            "kernel.kptr_restrict=2 hides from everybody where functions are, and so their names: "
            "set it to 1 (sysctl kernel.kptr_restrict=1)"
        )
    return "without CAP_SYSLOG the kernel hides where functions are, and so their names: grant it"
