"""Defines what `kmemtrace verify` found: plain data, and the verdict that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kmemtrace.model.enums import Confidence, MismatchClass
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Site, Snapshot


class Verdict(StrEnum):
    BALANCED = "balanced"
    MISMATCH = "mismatch"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class CounterReading:
    """The charge counter of the verified cgroup after everything drained, in base pages."""

    charged: int
    parts: Mapping[str, int]
    slack: int
    kernel: "KernelReading | None" = None
    """The part that is kernel memory; None where nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class KernelReading:
    """The part of the verified cgroup's counter that is kernel memory, in base pages."""

    charged: int
    known: Mapping[str, int]
    """What explains it: the pages that are held and those that were lost, and what the kernel itself tells of
    slab objects and per-CPU areas; less those taken off it that were never charged."""
    slack: int
    """How many more pages may be charged."""
    told_apart: bool
    """Whether the kernel tells of slab objects."""

    @property
    def unexplained(self) -> int:
        return self.charged - sum(self.known.values())

    @property
    def in_doubt(self) -> bool:
        return self.unexplained > self.slack


@dataclass(frozen=True, slots=True)
class Departure:
    """A cgroup that processes of the command went to, out of its own."""

    cgroup: int
    """The cgroup's id."""
    path: str
    processes: int
    """How often a process came there; one that comes twice counts twice."""
    comm: str
    """Name of the last process that came, whose id is `pid`."""
    pid: int


@dataclass(frozen=True, slots=True)
class AccountReading:
    """What the kernel had charged to the verified cgroup as kernel memory, and what a census found there.

    It is in bytes, includes the cgroups below it, and was read after everything drained.
    """

    charged_bytes: int | None
    """Bytes that the kernel charged; None where it is not told, and then `refusal` says why."""
    explained_bytes: int
    apart_bytes: int = 0
    """Bytes by which the two differ, added up cgroup by cgroup."""
    doubtful_bytes: int = 0
    """Bytes that it may be more: blocks that are larger than was told, and what changed meanwhile."""
    pages_bytes: int = 0
    """Bytes of what was found that are pages: what of the cgroup can still be uncharged page by page."""
    refusal: str | None = None
    time: float = 0.0
    """When it was begun, in seconds since the epoch: it tells nothing of what came later."""

    @property
    def exact(self) -> bool:
        """Whether the two agree to the byte: nothing is charged that is not there, nor the reverse."""
        return self.charged_bytes is not None and not self.apart_bytes and not self.doubtful_bytes


@dataclass(frozen=True, slots=True)
class Verification:
    command: tuple[str, ...]
    """The command; empty where the whole machine was watched for a time."""
    command_status: int | None
    """Exit status of the command, negative for a signal; None without a command, or where it was
    interrupted."""
    seconds: float
    snapshot: Snapshot
    """The last Snapshot: counts, mismatches, exemptions and losses from begin to end."""
    missed_events: int
    """How many events were missed that could have shown or explained a mismatch."""
    unjudged: Mapping[MismatchClass, str]
    """By class, why it was not judged."""
    counter: CounterReading | None
    mismatches: tuple[Mismatch, ...]
    """Mismatches of the Snapshot, and a counter's drift."""
    waited_seconds: float = 0.0
    """Seconds from the start until all that can be judged was judged, before the command was started or the
    watching began."""
    unsearched: int = 0
    """Uncharges that may have been stray, or of pages charged before the start: the search for those did not
    come to its end."""
    interrupted: bool = False
    """Whether a signal to us interrupted it, before the command had ended, or the time that was to be
    watched."""
    departures: tuple[Departure, ...] = ()
    followed: bool = False
    """Whether what was charged in the cgroups of the departures was judged too."""
    account: AccountReading | None = None
    """The account of a command's cgroup, where events were missed or the counter is not explained; else
    None."""
    settled_events: int = 0
    """How many of the missed events are settled: a mismatch in them would have left the account off, which is
    exact."""
    killed: int = 0
    """How many processes the command left behind that did not end by themselves."""

    @property
    def unsettled_events(self) -> int:
        """How many of the missed events may have hidden a mismatch."""
        return self.missed_events - self.settled_events

    @property
    def refuted(self) -> bool:
        """Whether the account says that nothing of what was found is so.

        Pages lost would have left the kernel's count too high, pages taken too low. Where there are some of
        both they could even out.
        """
        account = self.account
        if account is None or not account.exact or any(m.time > account.time for m in self.mismatches):
            return False
        if any(m.confidence is Confidence.CERTAIN for m in self.mismatches):
            return False
        signs = {(m.lost_pages > 0, m.taken_pages > 0) for m in self.mismatches}
        return signs in ({(True, False)}, {(False, True)})

    @property
    def command_failed(self) -> bool:
        """Whether the command ended with a status other than 0, or by a signal.

        That is no matter of the verdict, which is of pages, but what it was to do may not have been done.
        """
        return bool(self.command_status)

    @property
    def verdict(self) -> Verdict:
        """The verdict; a certain mismatch makes it MISMATCH, whatever was missed."""
        if any(m.confidence is Confidence.CERTAIN for m in self.mismatches):
            return Verdict.MISMATCH
        return Verdict.INCONCLUSIVE if self.doubts else Verdict.BALANCED

    @property
    def doubts(self) -> list[str]:
        """Each reason why, without a certain mismatch, nothing can be said."""
        doubts = ["it was interrupted"] if self.interrupted else []
        if self.mismatches and not self.refuted:
            doubts.append("what was found could be due to events that were missed")
        elif self.unsettled_events:
            doubts.append("what was missed could have shown a mismatch")
        if not self.snapshot.charged_pages:
            doubts.append("no page was charged, so that there was nothing to judge")
        if self.unsearched:
            doubts.append(
                f"of {self.unsearched:,} uncharges it is not known whether their pages had been charged"
            )
        if self.departures and not self.followed:
            doubts.append(
                "the command's processes went to other cgroups, where they were not followed (--follow does)"
            )
        if self.unexplained:
            doubts.append(self.unexplained)
        if self.killed:
            doubts.append(
                "the command left processes behind, so it was not seen whether they would have given back "
                "what they held"
            )
        return doubts

    @property
    def unexplained(self) -> str:
        """Says how many pages the kernel counts that nothing explains; empty without any."""
        kernel = self.counter.kernel if self.counter else None
        exact = self.account is not None and self.account.exact
        if kernel is None or not kernel.in_doubt or exact:
            return ""
        told = f"{kernel.unexplained:,} pages stay on the cgroup's counter that nothing explains"
        if kernel.told_apart:
            return f"{told}: they may be lost"
        return f"{told}: they may be lost, or be slab objects, of which cgroup v1 does not tell"

    @property
    def held(self) -> list[tuple[str, Site]]:
        """(path of the cgroup, call site) of what is still charged, most first."""
        held = [(c.path, s) for c in self.snapshot.cgroups for s in c.sites if s.held_pages > 0]
        return sorted(held, key=lambda h: -h[1].held_pages)
