"""Reads names of the kernel's functions and addresses of its variables, from /proc/kallsyms.

BCC has them too, but before 0.29 it gives none to an effective user other than root (0fcb3461), and never
learns of a module that is loaded later.
"""

import os
import threading
from bisect import bisect_right
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_KALLSYMS = Path("/proc/kallsyms")
_MODULES = Path("/proc/modules")
_KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")

_NAME_AT = 19
"""Where the name begins in a line of the table, such as "ffffffff81000000 T _text" or "ffffffffc0001000 t
init\\t[module]"."""
_FUNCTIONS = np.frombuffer(b"tTwW", "u1")
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
_LARGEST_FUNCTION = 1 << 16
"""Bytes, more than any function has: what is farther behind a module's symbol belongs to something else."""


class _Table(NamedTuple):
    """Functions by address, one name of each; `begins` and `ends` of the names are in `text`."""

    addresses: NDArray[np.uint64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    text: bytes


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
        self._table = Future[_Table]()
        self._variables: dict[str, int] = {}
        self._read()
        begin, end = (self._variables.get(name, 0) for name in ("_stext", "_etext"))
        self.text = range(begin, end) if 0 < begin < end else range(1 << 64)
        """Addresses of the kernel's own code, without modules and BPF; all where they are hidden."""

    @cached_property
    def hidden(self) -> str | None:
        """Says why there are no names, and what would help; None where there are."""
        return None if len(self._table.result().addresses) else _why_hidden(self._files[0], self._restrict)

    def close(self) -> None:
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
        return self._variables.get(name)

    def function(self, address: int) -> str | None:
        """Names the code at an address as `function+0xoffset`; None where there is no name for it."""
        own = address in self.text
        if not own and self._list_modules() != self._loaded:
            self._read()
        addresses, begins, ends, text = self._table.result()
        at = int(np.searchsorted(addresses, np.uint64(address), side="right")) - 1
        if at < 0:
            return None
        offset = address - int(addresses[at])
        if not own and offset >= _LARGEST_FUNCTION:
            return None
        return f"{text[begins[at] : ends[at]].decode(errors='replace')}+{offset:#x}"

    def _read(self) -> None:
        self._loaded = self._list_modules()  # first: one that is loaded meanwhile is noticed later
        raw = _content(self._files[0])
        self._table = _beside(raw)
        self._variables = {name: address for name in _VARIABLES if (address := _address(raw, name))}

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


def _content(file: int | None) -> bytes:
    if file is None:
        return b""
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(file, 1 << 20), b""))


def _address(raw: bytes, variable: str) -> int:
    """Returns the address of a variable; 0 where the table has none of the name, or hides where it is."""
    at = raw.find(b" %s\n" % variable.encode())
    return 0 if at < 0 else int(raw[raw.rfind(b"\n", 0, at) + 1 : at].split()[0], 16)


def _beside(raw: bytes) -> "Future[_Table]":
    """Begins to make the table of functions: it takes 60 ms, and variables are what is asked for first."""
    made = Future[_Table]()
    thread = threading.Thread(target=lambda: made.set_result(_functions(raw)), name="symbols", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be had
        made.set_result(_functions(raw))
    return made


def _functions(raw: bytes) -> _Table:
    """Returns the functions of a table, sorted; none where it hides their addresses."""
    data = np.frombuffer(raw, "u1")
    ends = np.flatnonzero(data == ord("\n"))
    begins = np.concatenate(([0], ends + 1))[:-1]
    # A name ends at the tab before its module's, where it has one.
    tabs = np.flatnonzero(data == ord("\t"))
    ends[np.searchsorted(ends, tabs)] = tabs
    kept = np.isin(data[begins + _NAME_AT - 2], _FUNCTIONS)
    begins, ends = begins[kept], ends[kept]
    addresses = _hexadecimal(data, begins)
    order = np.argsort(addresses, kind="stable")
    # Of names for the same address the first counts, as in the kernel's own stack traces.
    order = order[np.diff(addresses[order], prepend=np.uint64(0)) > 0]
    begins, ends = begins[order] + _NAME_AT, ends[order]
    return _Table(addresses[order], *_cut(data, begins, ends))


def _cut(
    data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], bytes]:
    """Cuts these parts, which do not overlap, out of a text.

    Returns:
        Where each begins and ends in the new text, and that text.
    """
    edges = np.zeros(len(data) + 1, np.int8)
    edges[begins], edges[ends] = 1, -1
    inside = np.cumsum(edges, dtype=np.int8, out=edges)[:-1].view(bool)
    lengths, order = ends - begins, np.argsort(begins)
    stops = np.empty_like(ends)
    stops[order] = np.cumsum(lengths[order])
    return stops - lengths, stops, data[inside].tobytes()


def _hexadecimal(data: NDArray[np.uint8], begins: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns the numbers of 16 hexadecimal digits that begin at these places."""
    numbers = np.zeros(len(begins), np.uint64)
    for place in range(16):  # all at a time would take as much memory as the table
        digits = data[begins + place]
        numbers = numbers << np.uint64(4) | (digits & 15) + np.where(digits > ord("9"), 9, 0).astype("u1")
    return numbers


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
