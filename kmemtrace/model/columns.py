"""Defines the columns of a table: a row here is all that a column is."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kmemtrace.model.row import Row
from kmemtrace.model.view import GroupBy, SortKey

Value = float | str | None


class Unit(Enum):
    """How a value is written."""

    NAME = "name"
    STATE = "state"
    HOST = "host"
    SITE = "site"
    BYTES = "bytes"
    CHANGE = "signed bytes"
    COUNT = "count"
    RATE = "per second"
    DURATION = "seconds"


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    unit: Unit
    width: int
    """Columns of the screen; 0 for one that takes its share of what the others leave."""
    worth: int
    """How much it is worth: the column of least worth goes first where there is no room."""
    value: Callable[[Row], Value]
    meaning: str
    """What it means, for the help screen."""
    sort: SortKey | None = None
    key: str = ""
    """The key that sorts by it."""
    needs: str = ""
    """What a table must have to have the column, as columns_of() knows it."""

    @property
    def is_left(self) -> bool:
        return self.unit in (Unit.NAME, Unit.STATE, Unit.HOST, Unit.SITE)


# fmt: off
COLUMNS = (
    Column("", Unit.NAME, 0, 100, lambda r: r.name, "", SortKey.CGROUP, "N"),
    Column("HOST", Unit.HOST, 20, 98, lambda r: r.host, "", needs="a fleet"),
    Column("STATE", Unit.STATE, 6, 85, lambda r: r.state,
           "dead: the cgroup was removed and still holds pages; gone: it holds none, and is shown "
           "once for its last counts", needs="pages"),
    Column("KERNEL", Unit.BYTES, 6, 97, lambda r: r.kernel_bytes,
           "all kernel memory of the cgroup by the kernel's own count, that from before the start "
           "included, as of the last census; - of a cgroup that is newer",
           SortKey.KERNEL, "K", "a census"),
    Column("SLAB", Unit.BYTES, 6, 75, lambda r: r.slab_bytes,
           "of KERNEL, objects of slab caches", SortKey.SLAB, "S", "slab"),
    Column("OBJECTS", Unit.COUNT, 9, 96, lambda r: r.objects,
           "charged objects of the slab cache, as of the last census", SortKey.OBJECTS, "T", "caches"),
    Column("OBJ HELD", Unit.BYTES, 8, 96, lambda r: r.object_bytes,
           "slab objects charged since the start and not freed, with --objects",
           SortKey.OBJECT_HELD, "B", "objects"),
    Column("OBJ/s", Unit.RATE, 6, 94, lambda r: r.object_charge_rate,
           "slab objects charged a second, with --objects", SortKey.OBJECT_CHARGE, "J", "objects"),
    Column("OBJ FREE/s", Unit.RATE, 10, 88, lambda r: r.object_free_rate,
           "slab objects freed a second, with --objects", SortKey.OBJECT_FREE, "E", "objects"),
    Column("PERCPU", Unit.BYTES, 6, 15, lambda r: r.percpu_bytes,
           "of KERNEL, per-CPU areas, on all CPUs", SortKey.PERCPU, "P", "a census"),
    Column("HELD", Unit.BYTES, 6, 99, lambda r: r.held_bytes,
           "kernel memory charged in whole pages, not yet uncharged and not LOST, by the cgroup "
           "that it was charged to", SortKey.HELD, "H", needs="pages"),
    Column("GROWTH", Unit.CHANGE, 7, 83, lambda r: r.growth_bytes,
           "how HELD changed since the frame before, or since c", SortKey.GROWTH, "G", needs="pages"),
    Column("CHARGE/s", Unit.RATE, 8, 95, lambda r: r.charge_rate,
           "pages charged a second", SortKey.CHARGE, "C", needs="pages"),
    Column("UNCHARGE/s", Unit.RATE, 10, 70, lambda r: r.uncharge_rate,
           "pages uncharged a second", SortKey.UNCHARGE, "U", needs="pages"),
    Column("FAIL/s", Unit.RATE, 6, 40, lambda r: r.fail_rate,
           "page charges refused at a limit; objects of the slab that a limit refused are not in "
           "it; --objects tells them behind a row", SortKey.FAIL, "F", "cgroups"),
    Column("OLDEST", Unit.DURATION, 6, 80, lambda r: r.oldest_seconds,
           "for how long the oldest of the held pages, or since the start", SortKey.OLDEST, "O", "a tracer"),
    Column("P50", Unit.DURATION, 8, 20, lambda r: r.quantile_seconds(0.50),
           "half of the charges took less; LIFE P50: half of the pages that were uncharged had "
           "been held shorter", SortKey.P50, "5", "a tracer"),
    Column("P99", Unit.DURATION, 8, 30, lambda r: r.quantile_seconds(0.99),
           "99 of 100 took less, or had been held shorter", SortKey.P99, "9", "a tracer"),
    Column("MISMATCH", Unit.COUNT, 8, 35, lambda r: r.mismatches,
           "charges that broke the promise; - where none is judged", SortKey.MISMATCH, "M", "cgroups"),
    Column("CHARGED", Unit.COUNT, 9, 12, lambda r: r.charged_pages,
           "pages charged since the start, or since c", SortKey.CHARGED, "A", needs="pages"),
    Column("UNCHARGED", Unit.COUNT, 9, 10, lambda r: r.uncharged_pages,
           "pages uncharged since the start, or since c", SortKey.UNCHARGED, "Z", needs="pages"),
    Column("TOP SITE", Unit.SITE, 0, 90, lambda r: r.top_site[1],
           "the function that most of the held pages were asked for by", needs="sites"),
)
# fmt: on


def columns_of(
    by: GroupBy, *, fleet: bool = False, census: bool = True, objects: bool = False
) -> list[Column]:
    """Returns the columns that a table can have.

    A Prometheus server knows no ages, latencies by cgroup and call sites; only its tables have a host.

    Args:
        by: What a row stands for.
        fleet: Whether the Snapshots are a Prometheus server's.
        census: Whether there is a census.
        objects: Whether objects are followed.
    """
    caches = by is GroupBy.CACHE
    known = {
        "": True,
        "a fleet": fleet and by is GroupBy.CGROUP,
        "cgroups": by.has_cgroups,
        "a tracer": by.has_cgroups and not fleet,
        "a census": by.has_cgroups and census,
        "sites": not fleet and not caches,
        "pages": not caches,
        "caches": caches and census,
        "slab": (by.has_cgroups or caches) and census,
        "objects": (by.has_cgroups or caches) and objects,
    }
    return [column for column in COLUMNS if known[column.needs]]


def value_of(sort: SortKey) -> Callable[[Row], Value]:
    return next(column.value for column in COLUMNS if column.sort is sort)
