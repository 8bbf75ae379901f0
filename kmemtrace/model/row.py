"""Defines one line of a table, and what it is measured against."""

from dataclasses import dataclass
from enum import Enum

from kmemtrace.model.enums import CgroupState
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.sums import Sums
from kmemtrace.model.view import Place


class Fold(Enum):
    """What the tree shows below a row."""

    LEAF = ""
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Span:
    """What is the same for all rows of a table: the time that rates are of, and how to read counts."""

    seconds: float
    watched_seconds: float
    """For how long it was counted when the table was made: ages are worked out from it."""
    page_size: int
    latency: str
    """Which latency P50 and P99 show: "charge", "alloc" or "lifetime"."""
    judged: bool
    """Whether any class of mismatches is judged."""
    from_baseline: bool = False
    """Whether counts begin where the user said so, not at the start of the tracing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Rates are per second, pages are base pages; None stands for what is not known or not judged.
    """

    key: str
    sums: Sums
    """What it shows: for a closed parent, its children with it."""
    before: Sums | None
    """The same sums at the beginning of the span; None where there were none."""
    span: Span
    own: Sums
    """Its sums without children."""
    in_tree: bool = False
    depth: int = 0
    fold: Fold = Fold.LEAF
    hidden: int = 0
    """How many rows a closed parent hides."""
    is_context: bool = False
    """Whether it is there for the sake of a row below it only."""

    @property
    def name(self) -> str:
        return self.sums.name

    @property
    def label(self) -> str | None:
        return self.sums.label

    @property
    def host(self) -> str | None:
        """The host of a cgroup, where there are several."""
        return self.sums.host

    @property
    def place(self) -> Place:
        return self.sums.place

    @property
    def state(self) -> CgroupState | None:
        """State of the liveliest of its own cgroups; None for a cgroup that nothing was charged to."""
        return self.own.state

    @property
    def dead_cgroups(self) -> int:
        """How many removed cgroups are among those that it adds up, when not all are."""
        return self.sums.dead if self.sums.has_cgroups and self.state is not CgroupState.DEAD else 0

    @property
    def kernel_bytes(self) -> int | None:
        return self.sums.kernel

    @property
    def slab_bytes(self) -> int | None:
        return self.sums.slab

    @property
    def percpu_bytes(self) -> int | None:
        return self.sums.percpu

    @property
    def objects(self) -> int | None:
        """How many objects a slab cache has."""
        return self.sums.objects

    @property
    def object_bytes(self) -> int | None:
        return self.sums.object_bytes

    @property
    def object_charge_rate(self) -> float | None:
        return None if self.sums.object_charged is None else self._rate("object_charged")

    @property
    def object_free_rate(self) -> float | None:
        return None if self.sums.object_freed is None else self._rate("object_freed")

    @property
    def held_pages(self) -> int:
        return self.sums.held

    @property
    def held_bytes(self) -> int:
        return self.sums.held * self.span.page_size

    @property
    def growth_bytes(self) -> int:
        """Bytes that more is held, but for what was held before the start and only found by now."""
        changed = self.sums.held - self.sums.before
        if self.before is not None:
            changed -= self.before.held - self.before.before
        return changed * self.span.page_size

    @property
    def charged_pages(self) -> int:
        return self.sums.charged - self._base("charged")

    @property
    def uncharged_pages(self) -> int:
        return self.sums.uncharged - self._base("uncharged")

    @property
    def charge_rate(self) -> float | None:
        return self._rate("charged")

    @property
    def uncharge_rate(self) -> float | None:
        return self._rate("uncharged")

    @property
    def fail_rate(self) -> float | None:
        """Failed charges per second."""
        return self._rate("failed")

    @property
    def oldest_seconds(self) -> float | None:
        at = self.sums.oldest_at
        return None if at is None else max(0.0, self.span.watched_seconds - at)

    @property
    def mismatches(self) -> int | None:
        """How many mismatches there were, since the start always."""
        return self.sums.mismatches if self.span.judged else None

    @property
    def top_site(self) -> tuple[str, str]:
        """Kind and function of the call site that holds most."""
        return self.sums.top_site()

    def quantile_seconds(self, quantile: float) -> float | None:
        histogram = self.latency().get(self.span.latency)
        return None if histogram is None else histogram.quantile_seconds(quantile)

    def latency(self) -> dict[str, Histogram]:
        now = self.sums.latency()
        if not self.span.from_baseline or self.before is None:
            return now
        base = self.before.latency()
        return {name: h - base[name] if name in base else h for name, h in now.items()}

    def _base(self, count: str) -> int:
        if not self.span.from_baseline or self.before is None:
            return 0
        found: int = getattr(self.before, count)
        return found

    def _rate(self, count: str) -> float | None:
        if self.span.seconds <= 0:
            return None
        before: int = 0 if self.before is None else getattr(self.before, count) or 0
        change: int = getattr(self.sums, count) - before
        return max(0, change) / self.span.seconds


def latency_shown(snapshot: Snapshot) -> str:
    """Returns which latency the P50 and P99 columns show.

    It is that of charges where the tier sees them, else of allocations, else how long pages were held.
    """
    # All cgroups have the same ones, but those that only the census knows, which have none.
    known = next((cgroup.latency for cgroup in snapshot.cgroups if cgroup.latency), {})
    return next((name for name in ("charge", "alloc") if name in known), "lifetime")


def follows_objects(snapshot: Snapshot) -> bool:
    return snapshot.losses.mended_objects is not None
