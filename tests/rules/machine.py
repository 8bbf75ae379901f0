"""The BPF programs, as they are, compiled for this process: events are function calls, and the kernel's
memory is a few structs that a test lays out."""

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from kmemtrace.model.enums import Exemption, Loss, MismatchClass, c_defines
from kmemtrace.tracer.capacity import MIX, RECORD_WAYS, Capacity
from kmemtrace.tracer.constants import of_places
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.sources import program_text
from kmemtrace.tracer.structs import FINDING

SHIM = Path(__file__).with_name("shim.hpp")
SUBTREE = 7
"""Id of the cgroup that alone is traced, where that is asked for."""
_OF_SUBTREE = {"SUBTREE_ID": SUBTREE, "SUBTREE_LEVEL": 1, "OFF_CGROUP_ANCESTORS": 24}
BY_TRACEPOINTS = (MismatchClass.UNCHARGED_ALLOC, MismatchClass.WRONG_CGROUP)
"""What is judged by tracepoints alone."""
_ROOM = Capacity(page_frames=64, pages=1000, cgroups=512, sites=512)
PAGES = 64
PAGE = 64
"""Bytes of a struct page."""
MARKED = 2
GFP_ACCOUNT = 1 << 22
ROOT_ID = 1

# struct page: flags, lru, ..., memcg_data; task, memcg and cgroup are each a row of words.
_OFFSETS = {
    "OFF_PAGE_FLAGS": 0,
    "OFF_PAGE_LRU": 8,
    "OFF_PAGE_MARK": 56,
    "OFF_PAGE_OWNER": 56,
    "OFF_OBJCG_MEMCG": 0,
    "OFF_MEMCG_CSS": 0,
    "OFF_MEMCG_CGROUP": 0,
    "OFF_MEMCG_CSS_FLAGS": 8,
    "OFF_MEMCG_MEMORY": 16,
    "OFF_CGROUP_KN": 0,
    "OFF_CGROUP_ROOT": 8,
    "OFF_CGROUP_LEVEL": 16,
    "OFF_KN_ID": 0,
    "OFF_ROOT_HIERARCHY": 0,
    "OFF_TASK_CGROUPS": 0,
    "OFF_TASK_FLAGS": 8,
    "OFF_TASK_MM": 16,
    "OFF_TASK_STACK": 24,
    "OFF_TASK_TGID": 32,
    "OFF_TASK_ACTIVE_MEMCG": 40,
    "OFF_TASK_OBJCG": 48,
    "OFF_CSS_SET_MEMORY": 0,
    "OFF_COUNTER_USAGE": 0,
    "OFF_COUNTER_MAX": 8,
    "OFF_COUNTER_PARENT": 16,
    "OFF_BATCH_NR": 0,
    "OFF_BATCH_FOLIOS": 8,
}
_ARGUMENTS = {
    "ARG_CHARGE_PAGE": 0,
    "ARG_CHARGE_GFP": 1,
    "ARG_CHARGE_ORDER": 2,
    "ARGS_CHARGE": 3,
    "ARG_UNCHARGE_PAGE": 0,
    "ARG_UNCHARGE_ORDER": 1,
    "ARG_PUT_UNCHARGE_PAGE": 0,
    "ARG_PUT_UNCHARGE_BATCH_BATCH": 0,
    "ARG_SPLIT_HEAD": 0,
    "ARG_SPLIT_ORDER": 1,
}
_OTHERS: dict[str, int | str] = {
    "MARK_SIZE": 8,
    "MARK_MASK": 3,
    "MARK_VALUE": MARKED,
    "GFP_ACCOUNT": GFP_ACCOUNT,
    "PG_HEAD": 6,
    "STRUCT_PAGE_SHIFT": 6,
    "PAGE_INDEX_MASK": f"{PAGES - 1}U",
    "MEMORY_HIERARCHY": 0,
    "MAX_PAGES": 1000,
    "MAX_CGROUPS": _ROOM.cgroups,
    "MAX_SITES": _ROOM.sites,
    **of_places(_ROOM),
    "MAX_STACKS": 8,
    "MAX_LIVES": 8,
    "MAX_CALLS": 1000,
    "MAX_STALLED": 8,
    "MAX_FAILURES": 8,
    "MAX_MOVES": 8,
    "STACK_DEPTH": 4,
    "MAX_ORDER": 10,
    "LIFE_PATH": 16,
    "INSPECT_BATCH": 4,
    "INSPECT_BATCHES": 1,
    "ADOPT_BATCH": PAGES,
    "ADOPT_RECORDS": 40,
    "OFF_PAGE_ORDER": PAGE + 16,
    "FINDINGS_PAGES": 1,
    "HISTOGRAM_BUCKETS": 36,
    "HISTOGRAM_SHIFT": 10,
    "MIX": f"{MIX}ULL",
}
_FUNCTIONS: dict[str, int | str] = {**_ARGUMENTS, "TIER_FENTRY": 1, "WITH_CHARGE": 1, "WITH_UNCHARGE": 1}
PROGRAMS = ("charge_entry", "charge_exit", "uncharge", "put_uncharge", "put_uncharge_batch", "split")


def _table(buckets: int) -> dict[str, int | str]:
    if not buckets:
        return {}
    return {
        "RECORD_BUCKETS": buckets,
        "MAX_BUCKETS": buckets,
        "RECORD_WAYS": RECORD_WAYS,
        "CALL_BUCKETS": 4,
    }


def _flags(buckets: int, *, functions: bool, subtree: bool) -> list[str]:
    values = _OFFSETS | _OTHERS | _table(buckets) | (_FUNCTIONS if functions else {})
    values |= _OF_SUBTREE if subtree else {}
    flags = [f"-D{name}={value}" for name, value in values.items()]
    judged = list(MismatchClass) if functions else BY_TRACEPOINTS
    flags += [f"-DJUDGE_{one.name}" for one in judged]
    return [*flags, *c_defines(), *(f"-DPROGRAM_{p}" for p in (PROGRAMS if functions else ()))]


def _source(name: str) -> str:
    """The file `name` of probes/ with its headers, as C++."""
    text = program_text(name)
    text = text.replace(".delete(", ".remove(").replace('BPF_TABLE("', "BPF_TABLE(")
    text = text.replace('BPF_TABLE(lru_hash"', "BPF_TABLE(lru_hash")
    text = text.replace('BPF_TABLE(stacktrace"', "BPF_TABLE(stacktrace")
    return (
        f"{SHIM.read_text()}\n"
        "#define explicit explicit_ /* a keyword of C++ */\n"
        "/* PREEMPT_COUNT_AT is an address of this process, which the test sets. */\n"
        "static u64 preempt_count, per_cpu_offset;\n"
        "#define PER_CPU_OFFSETS ((u64)&per_cpu_offset)\n"
        "#define PREEMPT_COUNT_AT ((u64)&preempt_count)\n"
        f'extern "C" {{\n{text}\n}}\n'
    )


def _compile(
    source: str, buckets: int, *to: str | Path, functions: bool = True, subtree: bool = False
) -> None:
    flags = _flags(buckets, functions=functions, subtree=subtree)
    command = ["g++", "-std=c++20", "-O1", "-w", "-fpermissive", *flags, "-x", "c++", "-", *to]
    subprocess.run(command, input=source, check=True, text=True)


def check_alone(header: str) -> None:
    """Compiles that header of probes/ with nothing before it. Raises CalledProcessError."""
    for buckets in (0, 16):
        _compile(_source(header), buckets, "-fsyntax-only")


def compiled(source: Path, header: str, buckets: int) -> ctypes.CDLL:
    """Compiles a file of C++ after that header of probes/."""
    library = Path(tempfile.mkdtemp(prefix="kmemtrace-rules-")) / "compiled.so"
    text = f"{_source(header)}\n{source.read_text()}"
    _compile(text, buckets, "-shared", "-fPIC", "-pthread", "-O2", "-o", library)
    return ctypes.CDLL(str(library))


@functools.cache
def _library(buckets: int, *, functions: bool, subtree: bool) -> Path:
    """Compiled once per run of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="kmemtrace-rules-"))
    library = folder / "rules.so"
    source = (
        f"{_source('kmemtrace.bpf.c')}"
        'extern "C" {\n'
        "void set_preempt_count(u64 count) { preempt_count = count; }\n"
        "void *take_finding() { static std::vector<u8> one; if (findings.all.empty()) return 0;"
        " one = findings.all.front(); findings.all.erase(findings.all.begin()); return one.data(); }\n"
        "u64 exempted_count(u32 why) { return exempted.all[why]; }\n"
        "}\n"
        "template <typename F> u64 sum_of(u64 cgroup, F of) {"
        " u64 sum = of(find_totals(cgroup)->own);"
        " for (u32 at = 0; at < SITE_PLACES; at++)"
        " if (site_keys.all[at].cgroup == cgroup) sum += of(sites.all[at]); return sum; }\n"
        'extern "C" {\n'
        "u64 uncharged_pages(u64 cgroup) { return sum_of(cgroup, [](site &s) { return s.uncharged; }); }\n"
        "u64 lost_pages(u64 cgroup) { return sum_of(cgroup, [](site &s) { return s.lost; }); }\n"
        "void set_room(u64 records) { pages.room = records; }\n"
        "u64 lost_count(u32 what) { return losses.all[what]; }\n"
        "}\n"
        "template <typename F> void each_record(F of) {"
        " for (auto &[page, charge] : pages.all) of(page, charge);\n"
        "#ifdef RECORD_BUCKETS\n"
        "for (auto &b : records.all) EACH_WAY(way) if (b.page[way]) of(b.page[way], b.charge[way]);\n"
        "#endif\n"
        "}\n"
        'extern "C" {\n'
        "u64 held() { u64 n = 0; each_record([&](u64, charge &) { n++; }); return n; }\n"
        "void set_scanned() { scanned.all[0] = 1; }\n"
        "u64 found_pages(u64 *to) { auto &s = searches.all[0]; memcpy(to, s.found, 8 * s.count);"
        " return s.count; }\n"
        "u64 before_pages(u64 cgroup) { auto t = find_totals(cgroup); return t ? t->before : 0; }\n"
        "void confirm() { std::vector<std::pair<u64, u64>> found;"
        " each_record([&](u64 page, charge &one) { if (one.flags & CHARGE_BEFORE && !is_charged(page))"
        " found.push_back({page, one.time}); });"
        " for (auto [page, time] : found) { bpf_raw_tracepoint_args args = {{page, time}};"
        " sweep(&args); } }\n"
        "u64 refused_pages() { return adoptions.all[0].refused; }\n"
        "}\n"
    )
    _compile(source, buckets, "-shared", "-fPIC", "-o", library, functions=functions, subtree=subtree)
    return library


class Machine:
    """A fresh tracer on a kernel of PAGES pages, with a table of records in so many buckets, or without; by
    function probes, or by tracepoints alone; of all cgroups, or of the one with the id SUBTREE alone."""

    def __init__(self, buckets: int = 0, *, functions: bool = True, subtree: bool = False) -> None:
        self.programs = ("page_free", "page_alloc", *(PROGRAMS if functions else ()))
        # Loaded from a copy: a library that is loaded twice from one file keeps its state.
        with tempfile.NamedTemporaryFile(suffix=".so") as copy:
            copy.write(_library(buckets, functions=functions, subtree=subtree).read_bytes())
            copy.flush()
            self._lib = ctypes.CDLL(copy.name)
        for name, result in (
            ("take_finding", ctypes.c_void_p),
            ("exempted_count", ctypes.c_uint64),
            ("lost_count", ctypes.c_uint64),
            ("uncharged_pages", ctypes.c_uint64),
            ("lost_pages", ctypes.c_uint64),
            ("found_pages", ctypes.c_uint64),
            ("before_pages", ctypes.c_uint64),
            ("refused_pages", ctypes.c_uint64),
        ):
            getattr(self._lib, name).restype = result
        self._lib.held.restype = ctypes.c_uint64
        size = PAGES * PAGE
        self._memory = ctypes.create_string_buffer(2 * size)
        start = ctypes.addressof(self._memory)
        self.base = start + -start % size
        self._kept: list[object] = []
        self.root = self.memcg(ROOT_ID, level=0)
        self.task = self.words(8)
        self._lib.set_task(ctypes.c_uint64(self.task))
        self.enter(self.root, 0)

    def words(self, count: int) -> int:
        """Zeroed memory of so many words; its address."""
        kept = (ctypes.c_uint64 * count)()
        self._kept.append(kept)
        return ctypes.addressof(kept)

    def poke(self, address: int, value: int) -> None:
        ctypes.c_uint64.from_address(address).value = value

    def memcg(self, number: int, level: int = 1) -> int:
        """A memory cgroup with that id, online."""
        memcg, cgroup, node = self.words(8), self.words(8), self.words(1)
        self.poke(memcg, cgroup)
        self.poke(memcg + 8, 2)
        self.poke(cgroup, node)
        self.poke(cgroup + 8, self.words(1))
        self.poke(cgroup + 16, level)
        self.poke(cgroup + 24 + 8 * level, cgroup)
        self.poke(node, number)
        return memcg

    def objcg(self, memcg: int) -> int:
        address = self.words(1)
        self._kept.append(address)
        self.poke(address, memcg)
        return address + -address % 8

    def enter(self, memcg: int, objcg: int) -> None:
        """The current task is in that cgroup from now on."""
        css_set = self.words(1)
        self.poke(css_set, memcg)
        self.poke(self.task, css_set)
        self.poke(self.task + 16, 1 << 20)
        self.poke(self.task + 48, objcg)

    def set_flags(self, flags: int) -> None:
        self.poke(self.task + 8, flags)

    def set_active(self, memcg: int) -> None:
        self.poke(self.task + 40, memcg)

    def set_interrupt(self, on: bool) -> None:
        self._lib.set_preempt_count(ctypes.c_uint64(0x100 if on else 0))

    def page(self, number: int) -> int:
        return self.base + number * PAGE

    def mark(self, number: int, owner: int) -> None:
        """Charges it to that objcg; 0: to nobody."""
        self.poke(self.page(number) + 56, owner | MARKED if owner else 0)

    def make_compound(self, number: int, order: int) -> None:
        """The page after the head tells the order."""
        self.poke(self.page(number), 1 << _OTHERS["PG_HEAD"])  # type: ignore[operator]
        self.poke(self.page(number + 1) + 16, order)

    def owner(self, number: int) -> int:
        return ctypes.c_uint64.from_address(self.page(number) + 56).value & ~3

    def is_marked(self, number: int) -> bool:
        return ctypes.c_uint64.from_address(self.page(number) + 56).value & 3 == MARKED

    def set_time(self, ns: int) -> None:
        self._lib.set_time(ctypes.c_uint64(ns))

    def set_busy(self, on: bool) -> None:
        """Whether maps are locked, so that no record can be deleted."""
        self._lib.set_busy(on)

    def set_room(self, records: int) -> None:
        self._lib.set_room(ctypes.c_uint64(records))

    def uncharged(self, cgroup: int) -> int:
        """Pages, of those that the cgroup with that id was charged."""
        return int(self._lib.uncharged_pages(ctypes.c_uint64(cgroup)))

    def never_uncharged(self, cgroup: int) -> int:
        """Pages, of those that the cgroup with that id was charged, that ended without an uncharge."""
        return int(self._lib.lost_pages(ctypes.c_uint64(cgroup)))

    def before(self, cgroup: int) -> int:
        """Pages, of those that the cgroup with that id was charged before the start."""
        return int(self._lib.before_pages(ctypes.c_uint64(cgroup)))

    @property
    def refused(self) -> int:
        """Pages from before the start that had no room."""
        return int(self._lib.refused_pages())

    def lost(self, what: Loss) -> int:
        return int(self._lib.lost_count(what.value))

    def event(self, program: str, *arguments: int) -> None:
        context = (ctypes.c_uint64 * 8)(*arguments)
        getattr(self._lib, program)(ctypes.addressof(context) and ctypes.byref(context))

    def put_batch(self, numbers: list[int]) -> None:
        batch = (ctypes.c_uint64 * 32)(len(numbers), *map(self.page, numbers))
        self.event("put_uncharge_batch", ctypes.addressof(batch))

    def look_for_charged(self) -> list[int]:
        """Pages that are charged and have no record, as the search finds them."""
        self.event("find_charged", self.base)
        found = (ctypes.c_uint64 * PAGES)()
        count = self._lib.found_pages(found)
        return [(page - self.base) // PAGE for page in found[:count]]

    def adopt(self) -> None:
        """The whole search, with nothing in between."""
        for number in self.look_for_charged():
            self.event("adopt", self.page(number))
        self.set_scanned()

    def confirm(self) -> None:
        """As the tracer does, some time after the search."""
        self._lib.confirm()

    def set_scanned(self) -> None:
        self._lib.set_scanned()

    def findings(self) -> list[Records]:
        found = []
        while data := self._lib.take_finding():
            found.append(np.frombuffer(ctypes.string_at(data, FINDING.itemsize), FINDING, 1)[0])
        return found

    def exempted(self, why: Exemption) -> int:
        return int(self._lib.exempted_count(why.number))

    @property
    def held(self) -> int:
        """Open records."""
        return int(self._lib.held())


def has_compiler() -> bool:
    return any((Path(p) / "g++").exists() for p in os.environ.get("PATH", "").split(":"))
