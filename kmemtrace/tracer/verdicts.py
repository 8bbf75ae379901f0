"""Makes mismatches of the findings of the BPF side, with names, stacks, and how sure each is."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.model.enums import ChargeFlag, Confidence, End, Exemption, MismatchClass
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.tracer.evidence import events
from kmemtrace.tracer.findings import Findings
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.stacks import Stacks

_INTERRUPT = re.compile(
    r"(asm_)?(sysvec|common_interrupt|exc_nmi|default_do_nmi)|handle_softirqs|__do_softirq|irq_exit"
    r"|__irq_svc|gic_handle_irq|el[01]t?_(64_)?irq"
)
"""Matches the frames of an interrupt: one that comes from user mode runs on the task's own stack."""

_MOVE_SECONDS = 1.0
"""How close to a change of cgroups an allocation that was not charged is taken for one before or after it."""


Place = tuple[int, int]
"""Id of a cgroup and of the stack that a page was charged at."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How far the programs' events can be relied upon."""

    uncounted_in_interrupts: bool
    """Whether a probe may be skipped in an interrupt and nobody counts it. A kprobe that an interrupt hits
    while the program of another one runs is skipped. No program's misses count that; the probe's own do
    (nmissed), which the kernel tells since 6.7."""
    searched_from: float | None
    """When the search for pages charged before the start began (kernel_seconds()); None where there is none
    yet. From then on the charge of a page that it had passed may have been missed."""
    confirmed_at: float | None
    """When the pages that it found were looked at once more (kernel_seconds()), as PagesBefore does; None
    before."""


def missed_events(finding: Records, missed: Missed, sight: Sight) -> int:
    """Returns how many missed events could explain a finding; 0 makes it certain.

    Only what was missed while the page was charged counts, or, of a page without a record, since all charged
    ones were looked for.

    Args:
        finding: A struct finding.
        missed: When events were missed, the last reading made after the finding was taken.
        sight: How far the programs' events can be relied upon.
    """
    if class_of(finding) is MismatchClass.UNCHARGED_ALLOC:
        return 0  # a fact of this moment: no other event is needed for it
    begin = int(finding["charge_time"]) / 1e9
    if not begin:
        begin = 0.0 if sight.searched_from is None else sight.searched_from
    counted = missed.between(begin, int(finding["time"]) / 1e9)
    if int(finding["flags"]) & ChargeFlag.COVERED:
        counted = max(counted, 1)  # whether or not the kernel counts it: else there were one record
    # An interrupt's put and free, or free and uncharge, follow each other in it: of a pair that was not
    # seen whole there is either this interrupt, or a record that says that its page was freed before,
    # unless its uncharge has come now; of the parts of a split block, which share a record, it does not
    # say.
    flags, end = int(finding["flags"]), finding["end"]
    freed_before = flags & ChargeFlag.FREED_BEFORE or (flags & ChargeFlag.FREEING and end != End.UNCHARGE)
    torn = finding["interrupt"] or freed_before or flags & ChargeFlag.SPLIT or end == End.HEALED
    return counted + int(bool(sight.uncounted_in_interrupts and torn))


def was_just_found(finding: Records, sight: Sight) -> bool:
    """Returns whether a finding is of a page from before the start that was not confirmed yet.

    Such a page may have been in the middle of its uncharge when the search found it, and the uncharge's
    program ran before there was a record.
    """
    if not int(finding["flags"]) & ChargeFlag.BEFORE:
        return False
    return sight.confirmed_at is None or int(finding["time"]) / 1e9 < sight.confirmed_at


def class_of(finding: Records) -> MismatchClass:
    """Returns the class that the programs put a struct finding into."""
    return MismatchClass.numbered(int(finding["what"]))


class Verdicts:
    """Takes findings in, and enters the mismatches that they are into one ledger."""

    def __init__(self, stacks: Stacks, name: Callable[[int], str | None]) -> None:
        """Has judged nothing yet.

        Args:
            stacks: Gives the frames of a stack by its id.
            name: Gives a cgroup's path by its id, as of now; None where it is not known.
        """
        self._stacks, self._name = stacks, name
        self._waiting: list[Records] = []
        self._doubtful: dict[Place, int] = defaultdict(int)
        self._exempted: dict[Exemption, int] = defaultdict(int)
        self.ledger = Findings()
        self.received = 0
        """How many findings were taken in."""

    def take(
        self, findings: Iterable[Records], moves: Mapping[int, int], missed: Missed, sight: Sight
    ) -> None:
        """Judges findings.

        One that needs to know of a change of cgroups that may be under way yet waits for the next time.

        Args:
            findings: Each a struct finding.
            moves: By process id, when it last changed cgroups (ns, CLOCK_MONOTONIC).
            missed: When events were missed, the last reading made after these findings were taken.
            sight: How far the programs' events can be relied upon.
        """
        new = list(findings)
        self.received += len(new)
        settled = int((kernel_seconds() - _MOVE_SECONDS) * 1e9)
        all_of_them, self._waiting = [*self._waiting, *new], []
        for finding in all_of_them:
            if class_of(finding) is MismatchClass.UNCHARGED_ALLOC and finding["time"] > settled:
                self._waiting.append(finding)
            else:
                self._judge(finding, moves, missed, sight)

    @property
    def doubtful(self) -> Mapping[Place, int]:
        """Base pages that suspects cost, by place.

        The programs count them as lost, but their uncharge may have been missed.
        """
        return self._doubtful

    def forget(self, cgroup: int) -> None:
        """Forgets the cgroup with this id: it is out of the maps, so nothing is left to count or to doubt."""
        self.ledger.forget(cgroup)
        for place in [place for place in self._doubtful if place[0] == cgroup]:
            del self._doubtful[place]

    def exempted(self) -> Mapping[Exemption, int]:
        """Returns how many findings were found to be legal only here, by the reason."""
        return self._exempted

    def _judge(self, finding: Records, moves: Mapping[int, int], missed: Missed, sight: Sight) -> None:
        """Counts a finding as legal, or enters it into the ledger as certain or suspect."""
        alloc = self._stacks[int(finding["alloc_stack"])].frames
        legal = _exemption(finding, moves, alloc)
        if legal is not None:
            self._exempted[legal] += 1
            return
        cgroup = int(finding["charged_to"]) or int(finding["uncharged_from"])
        place = cgroup, int(finding["alloc_stack"])
        if was_just_found(finding, sight):
            self._exempted[Exemption.PREEXISTING] += 1
            self._doubtful[place] += int(finding["lost"])
            return
        missing = missed_events(finding, missed, sight)
        if missing and finding["lost"]:
            self._doubtful[place] += int(finding["lost"])
        self.ledger.add(self._mismatch(finding, alloc, missing), cgroup)

    def _mismatch(self, finding: Records, alloc: tuple[str, ...], missed: int) -> Mismatch:
        """Makes a mismatch of a finding, of the frames of its allocation, and of what was missed."""
        at = time.time() - kernel_seconds() + int(finding["time"]) / 1e9
        charged, uncharged = int(finding["charged_to"]), int(finding["uncharged_from"])
        was_charged, ended = bool(finding["charge_time"]), finding["end"] != End.NONE
        return Mismatch(
            mismatch_class=class_of(finding),
            confidence=Confidence.SUSPECT if missed else Confidence.CERTAIN,
            page=int(finding["head"]),
            order=int(finding["order"]),
            charged_pages=1 << int(finding["order"]) if was_charged else 0,
            ended_page=int(finding["page"]) if ended else None,
            ended_pages=1 << int(finding["end_order"]) if ended else None,
            lost_pages=int(finding["lost"]),
            taken_pages=int(finding["taken"]),
            charged_to=self._name(charged) if charged else None,
            uncharged_from=self._name(uncharged) if uncharged else None,
            alloc_stack=alloc,
            free_stack=self._stacks[int(finding["free_stack"])].frames,
            comm=bytes(finding["comm"]).decode(errors="backslashreplace"),
            pid=int(finding["tgid"]),
            time=at,
            first_time=at,
            missed_events=missed,
            events=tuple(events(finding)),
        )


def _exemption(finding: Records, moves: Mapping[int, int], alloc: tuple[str, ...]) -> Exemption | None:
    """Says why an uncharged allocation is legal after all, as only what is known here tells; else None."""
    if class_of(finding) is not MismatchClass.UNCHARGED_ALLOC:
        return None
    move = moves.get(int(finding["tgid"]))
    if move is not None and abs(move - int(finding["time"])) < _MOVE_SECONDS * 1e9:
        return Exemption.MOVED
    return Exemption.INTERRUPT if any(map(_INTERRUPT.match, alloc)) else None
