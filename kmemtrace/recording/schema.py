"""Defines the tables of a recording: their columns, with Arrow types, units and meanings.

Each table but `stacks` has the columns of _MOMENT first. A row stands for its key from its moment on, until
the next row with that key: one is written when its values changed, and all are at the begin of each file.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

FORMAT = "kmemtrace recording"
SCHEMA_VERSION = 1
"""Grows when a reader of before would read something wrongly; columns may be added without that."""

_I32, _I64, _U64, _F64, _STR, _BOOL = (
    pa.int32(),
    pa.int64(),
    pa.uint64(),
    pa.float64(),
    pa.string(),
    pa.bool_(),
)
_COUNTS = pa.map_(_STR, _I64)
_TEXTS = pa.map_(_STR, _STR)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type: Any
    meaning: str
    """What it says, with its unit; what null means, where it can be null."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a recording."""

    name: str
    meaning: str
    keys: tuple[Column, ...]
    """Columns that tell what a row is of."""
    values: tuple[Column, ...]
    in_time: bool = True
    """Whether its rows belong to moments."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of its columns, in their order."""
        begin = _MOMENT if self.in_time else ()
        return (*begin, *self.keys, *self.values, *((PRESENT,) if self.has_absence else ()))

    @property
    def has_absence(self) -> bool:
        """Whether a key can go away, which a row with `present` false tells."""
        return self.in_time and bool(self.keys)

    @property
    def schema(self) -> Any:
        """The Arrow schema."""
        return pa.schema([(column.name, column.type) for column in self.columns])


PRESENT = Column("present", _BOOL, "false: from this moment on there is none; the values are null then")
_MOMENT = (
    Column("run", _I32, "which run of `kmemtrace record` into this folder, from 0"),
    Column("moment", _I64, "number of the Snapshot in its run, from 0: unlike `time` it never goes back"),
    Column("time", pa.timestamp("ns", "UTC"), "when, by the clock of the machine"),
)
_CGROUP = (
    Column("host", _STR, "where the cgroup is, of several hosts; null: on this one"),
    Column("hierarchy", _I64, "cgroup hierarchy; 0 is v2"),
    Column("id", _U64, "the kernel's id of the cgroup"),
)
_CGROUP_OR_MACHINE = (
    *_CGROUP[:1],
    Column("hierarchy", _I64, "cgroup hierarchy; null: of the whole machine"),
    Column("id", _U64, "the kernel's id of the cgroup; null: of the whole machine"),
)
_PAGES = (
    Column("charged_pages", _I64, "base pages charged since the start"),
    Column("uncharged_pages", _I64, "base pages uncharged since the start"),
)
_LOST = (
    Column("lost_pages", _I64, "base pages given back without an uncharge, for certain; null: not judged"),
    Column("preexisting_pages", _I64, "base pages charged before the start"),
)

SNAPSHOTS = Table(
    "snapshots",
    "one row for each moment: what is told once of all",
    (),
    (
        Column("watched_seconds", _F64, "seconds since the counting began, by a clock that nobody sets"),
        Column("host", _STR, "name of the machine"),
        Column("kernel", _STR, "release of the kernel"),
        Column("tier", _STR, "how the kernel was traced: tracepoint, kprobe, fentry"),
        Column("page_size", _I64, "bytes of a base page"),
        Column("hosts", _I64, "how many hosts it is of; null: this one, by a tracer"),
        Column("preexisting_pages", _I64, "base pages charged before the start; null: not known yet"),
        Column("own_bytes", _I64, "bytes of the tracer's own maps; null: the kernel does not tell"),
        Column("charge_share", _F64, "part of accounted allocations' time that charges took, 0 to 1"),
        Column("times_allocations", _BOOL, "whether alloc latency is measured"),
        Column("gone_cgroups", _I64, "cgroups that were removed, hold nothing and have no row any more"),
        Column("gone_charged_pages", _I64, "base pages that these were charged"),
        Column("gone_uncharged_pages", _I64, "base pages that these were uncharged"),
        Column("gone_failed_charges", _I64, "charges refused to these"),
        Column("gone_lost_pages", _I64, "base pages that these lost; null: not judged"),
        Column("gone_preexisting_pages", _I64, "base pages that these were charged before the start"),
        Column("census_age_seconds", _F64, "seconds since the census that accounts are from; null: none"),
        Column("census_seconds", _F64, "seconds that the census took"),
        Column("census_cpu_seconds", _F64, "seconds of CPU time that it took"),
        Column("census_objects", _I64, "charged slab objects of the machine"),
        Column("census_dying_cgroups", _I64, "removed cgroups that the kernel still has"),
        Column("census_pinned", _COUNTS, "bytes that these keep, by what they are"),
        Column("census_unseen", _TEXTS, "parts that the census could not read, with the reason"),
        Column("exempt", _COUNTS, "what looked like a mismatch and is legal, by reason: pages or blocks"),
        Column("unseen", _TEXTS, "what could not be seen, with the reason"),
        Column("unjudged_seconds", pa.map_(_STR, _F64), "by mismatch class, seconds that it was not judged"),
    ),
)
CGROUPS = Table(
    "cgroups",
    "a cgroup, and of what its kernel memory is made",
    _CGROUP,
    (
        Column("path", _STR, "path below the hierarchy's root"),
        Column("label", _STR, "container, pod or unit that the path names; null: none"),
        Column("state", _STR, "online; dead: removed, still holding; gone: removed, holding nothing"),
        *_PAGES,
        Column("failed_charges", _I64, "charges refused since the start"),
        Column("oldest_seconds", _F64, "age of the page held longest; null: none is held"),
        Column("failed_by_errno", _COUNTS, "charges refused, by the error's name; null: not seen"),
        Column("explicit_pages", _I64, "of those charged, outside the page allocator; null: not seen"),
        Column("reclaim_stalls", _I64, "times that a task had to free memory first; null: not seen"),
        Column("reclaim_stall_seconds", _F64, "seconds that this took; null: not seen"),
        Column("reparented_to", _STR, "path of the cgroup that a removed one's pages are counted to since"),
        Column("kernel_pages_change", _I64, "change of the kernel's own total since the start, base pages"),
        *_LOST,
        Column("mismatches", _COUNTS, "charges to it that broke the promise, by class"),
        Column("follows_objects", _BOOL, "whether its slab objects are followed (table `objects`)"),
        Column("account_kernel_bytes", _I64, "what the kernel says that it charged; null: not read"),
        Column("account_pages_bytes", _I64, "of that, whole pages; null: the cgroup has no account"),
        Column("account_page_tables_bytes", _I64, "of those, page tables; null: they do not tell"),
        Column("account_slab_bytes", _I64, "slab objects"),
        Column("account_percpu_bytes", _I64, "per-CPU areas; null: not read"),
        Column("account_zswap_bytes", _I64, "compressed swap; null: not read"),
        Column("account_ahead_bytes", _I64, "charged ahead, and not yet given to an object"),
        Column("account_moved_bytes", _I64, "by how much the count changed while it was read"),
        Column("account_doubtful_bytes", _I64, "by how much the pages may be more"),
        Column("account_sock_bytes", _I64, "sockets' buffers, in no sum of it; null: not read"),
    ),
)
SITES = Table(
    "sites",
    "what asked for the pages of a cgroup: a call stack",
    (
        *_CGROUP,
        Column("kind", _STR, "pipe, unix_socket, page_table, ...: what the pages are"),
        Column("symbol", _STR, "first function outside the allocator"),
        Column("stack", _U64, "the stack, in table `stacks`; null: not recorded"),
    ),
    (*_PAGES, *_LOST),
)
CACHES = Table(
    "caches",
    "charged objects of a slab cache, as the last census found them",
    (
        *_CGROUP_OR_MACHINE,
        Column("cache", _STR, "the slab cache"),
        Column("reclaimable", _BOOL, "whether the kernel can free such objects when it needs memory"),
    ),
    (
        Column("objects", _I64, "charged objects"),
        Column("bytes", _I64, "bytes that are charged for them"),
    ),
)
OBJECTS = Table(
    "objects",
    "slab objects that a function asked for, since the start; only where they are followed (--objects)",
    (
        *_CGROUP,
        Column("cache", _STR, "the slab cache"),
        Column("site", _STR, "function that called the allocator"),
        Column("object_bytes", _I64, "bytes that one object is charged with"),
    ),
    (
        Column("charged_objects", _I64, "objects charged since the start"),
        Column("freed_objects", _I64, "objects freed since the start"),
        Column(
            "failed_objects",
            _I64,
            "objects that a limit refused since the start; before 6.0 those asked for with `__GFP_ACCOUNT`",
        ),
    ),
)
LATENCIES = Table(
    "latencies",
    "a histogram of durations since the start",
    (
        *_CGROUP_OR_MACHINE,
        Column("measured", _STR, "charge, lifetime (how long pages were held, all or one in eight), alloc"),
        Column("accounted", _BOOL, "of the machine's allocations, whether they were accounted; else null"),
        Column("order", _I64, "of the machine's allocations, their order; else null"),
    ),
    (
        Column("sum_ns", _U64, "sum of the durations, nanoseconds; 2**64-1 stands for more"),
        Column("counts", pa.list_(_U64), "durations in each of 36 buckets: below 1.024 µs << index"),
    ),
)
FINDINGS = Table(
    "findings",
    "charges and uncharges that broke the promise, with the evidence of the last of each kind",
    (Column("place", _I64, "its place in the list, certain ones first"),),
    (
        Column("mismatch_class", _STR, "how it broke the promise (docs/verdicts.md)"),
        Column("confidence", _STR, "certain; suspect: `missed_events` could explain it"),
        Column("page", _U64, "address of the struct page; 0: no page's"),
        Column("order", _I64, "order of the block, as charged"),
        Column("charged_to", _STR, "path of the cgroup; null: none, or not known"),
        Column("uncharged_from", _STR, "path of the cgroup; null: nothing was uncharged"),
        Column("alloc_stack", _U64, "the stack of the charge, in table `stacks`; null: not recorded"),
        Column("free_stack", _U64, "the stack of its end; null: not recorded"),
        Column("comm", _STR, "process that was running then"),
        Column("pid", _I64, "id of that process"),
        Column("last_time", _F64, "seconds since the epoch, of the last one"),
        Column("first_time", _F64, "seconds since the epoch, of the first one"),
        Column("count", _I64, "how many of this kind there were"),
        Column("missed_events", _I64, "events missed meanwhile"),
        Column("events", pa.list_(_STR), "what was seen of the page, in its order"),
        Column("charged_pages", _I64, "base pages charged from `page` on; 0: no charge was seen"),
        Column("ended_page", _U64, "address of the struct page that was ended; null: none was"),
        Column("ended_pages", _I64, "base pages ended from there on"),
        Column("lost_pages", _I64, "base pages that stay on the counter of `charged_to` for good"),
        Column("taken_pages", _I64, "base pages taken off `uncharged_from`, never charged to it"),
        Column("host", _STR, "where it was found, of several hosts; null: on this one"),
    ),
)
LOSSES = Table(
    "losses",
    "what the tracer missed, and what it could mend, since the start",
    (
        Column("loss", _STR, "recursion_misses, map_full, ring_drops, healed, swept, ..."),
        Column("part", _STR, "the program (recursion_misses) or map (map_full); empty: all of them"),
    ),
    (Column("count", _I64, "events, entries or base pages"),),
)
MAPS = Table(
    "maps",
    "how full a BPF map is",
    (Column("map", _STR, "name of the map"),),
    (
        Column("entries", _I64, "entries in use"),
        Column("capacity", _I64, "entries that there is room for"),
    ),
)
STACKS = Table(
    "stacks",
    "call stacks, each once a file; a stack has the same number in every recording",
    (Column("stack", _U64, "number of the stack, made of its frames"),),
    (Column("frames", pa.list_(_STR), "function+0xoffset, innermost first"),),
    in_time=False,
)

TABLES = (SNAPSHOTS, CGROUPS, SITES, CACHES, OBJECTS, LATENCIES, FINDINGS, LOSSES, MAPS, STACKS)
BY_NAME = {table.name: table for table in TABLES}
