"""From the findings of the BPF side to mismatches: names, stacks, and how sure it is."""

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
"""Frames of an interrupt: one that comes from user mode runs on the task's own stack."""

_MOVE_SECONDS = 1.0
"""How close to a change of cgroups an uncharged allocation is taken for one of before or after it."""


Place = tuple[int, int]
"""Id of a cgroup and of the stack that a page was charged at."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How far the programs' events can be relied upon."""

    uncounted_in_interrupts: bool
    """A kprobe that an interrupt hits while the program of another one runs is skipped. No program's misses
    count that; the probe's own do (nmissed), which the kernel tells since 6.7."""
    searched_from: float | None
    """When the search for pages charged before the start began (kernel_seconds()): from then on the charge of
    a page that it had passed may have been missed."""
    confirmed_at: float | None
    """When those that it found were looked at once more: see PagesBefore."""


def missed_events(finding: Records, missed: Missed, sight: Sight) -> int:
    """How many missed events could explain a finding: 0 makes it certain. Only what was missed while
    the page was charged counts, or, of a page without a record, since all charged ones were looked for.
    """
    if class_of(finding) is MismatchClass.UNCHARGED_ALLOC:
        return 0  # a fact of this moment: no other event is needed for it
    begin = int(finding["charge_time"]) / 1e9
    if not begin:
        begin = 0.0 if sight.searched_from is None else sight.searched_from
    counted = missed.between(begin, int(finding["time"]) / 1e9)
    # An interrupt's put and free, or free and uncharge, follow each other in it: of a pair that was not
    # seen whole there is either this interrupt, or a record that says that its page was freed before,
    # unless its uncharge has come now; of the parts of a split block, which share a record, it does not
    # say.
    flags, end = int(finding["flags"]), finding["end"]
    freed_before = flags & ChargeFlag.FREED_BEFORE or (flags & ChargeFlag.FREEING and end != End.UNCHARGE)
    torn = finding["interrupt"] or freed_before or flags & ChargeFlag.SPLIT or end == End.HEALED
    return counted + int(bool(sight.uncounted_in_interrupts and torn))


def was_just_found(finding: Records, sight: Sight) -> bool:
    """Whether it is of a page from before the start that has not been confirmed yet: it may have been in the
    middle of its uncharge when it was found, whose program ran before there was a record."""
    if not int(finding["flags"]) & ChargeFlag.BEFORE:
        return False
    return sight.confirmed_at is None or int(finding["time"]) / 1e9 < sight.confirmed_at


def class_of(finding: Records) -> MismatchClass:
    """Of struct finding."""
    return MismatchClass.numbered(int(finding["what"]))


class Verdicts:
    """Takes findings in, and enters what they are into one ledger."""

    def __init__(self, stacks: Stacks, name: Callable[[int], str | None]) -> None:
        """`name` gives a cgroup's path by its id, as of now."""
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
        """Judges them. What needs to know of a move that may be under way yet waits for the next time.

        Args:
            moves: by process, when it last changed cgroups (ns, CLOCK_MONOTONIC).
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
        """Pages that suspects cost: the programs count them as lost, but their uncharge may have been
        missed."""
        return self._doubtful

    def forget(self, cgroup: int) -> None:
        """Of a cgroup that is out of the maps there is nothing left to count or to doubt."""
        self.ledger.forget(cgroup)
        for place in [place for place in self._doubtful if place[0] == cgroup]:
            del self._doubtful[place]

    def exempted(self) -> Mapping[Exemption, int]:
        """What was found to be legal only here, by the reason."""
        return self._exempted

    def _judge(self, finding: Records, moves: Mapping[int, int], missed: Missed, sight: Sight) -> None:
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
    """Why an uncharged allocation is legal after all, as only what is known here tells."""
    if class_of(finding) is not MismatchClass.UNCHARGED_ALLOC:
        return None
    move = moves.get(int(finding["tgid"]))
    if move is not None and abs(move - int(finding["time"])) < _MOVE_SECONDS * 1e9:
        return Exemption.MOVED
    return Exemption.INTERRUPT if any(map(_INTERRUPT.match, alloc)) else None
