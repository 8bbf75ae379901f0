"""From the findings of the BPF side to mismatches: names, stacks, and how sure it is."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from kmemtrace.kernel.clock import kernel_seconds
from kmemtrace.model.enums import Confidence, Exemption, MismatchClass
from kmemtrace.model.snapshot import Mismatch
from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.missed import Missed
from kmemtrace.tracer.stacks import Stacks

FINDING = np.dtype(
    [
        ("head", "u8"),
        ("page", "u8"),
        ("time", "u8"),
        ("charge_time", "u8"),
        ("charged_to", "u8"),
        ("uncharged_from", "u8"),
        ("tgid", "u4"),
        ("alloc_stack", "i4"),
        ("free_stack", "i4"),
        ("lost", "u4"),
        ("taken", "u4"),
        ("order", "u2"),
        ("end_order", "u2"),
        ("flags", "u2"),
        ("what", "u1"),
        ("end", "u1"),
        ("interrupt", "u1"),
        ("pad", "u1", (3,)),
        ("comm", "S16"),
    ]
)
"""struct finding of probes/verdicts.h."""

MOST_KINDS = 512
"""Mismatches that are kept apart; of further kinds only the count is kept."""


class End(IntEnum):
    """enum end of probes/verdicts.h."""

    FREE = 0
    UNCHARGE = 1
    PUT = 2
    HEALED = 3
    SWEPT = 4
    NONE = 5


_EXPLICIT, _SPLIT, _FREEING, _REMOTE, _FREED_BEFORE = 1, 2, 4, 8, 16
FOUND_BEFORE = 64
"""Of the flags of a record: it was charged before the start."""

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
    """When those that it found were looked at once more: see Tracer."""


def missed_events(finding: Records, missed: Missed, sight: Sight) -> int:
    """How many missed events could explain a finding: 0 makes it certain. Only what was missed while
    the page was charged counts, or, of a page without a record, since all charged ones were looked for.
    """
    if finding["what"] == MismatchClass.UNCHARGED_ALLOC:
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
    freed_before = flags & _FREED_BEFORE or (flags & _FREEING and end != End.UNCHARGE)
    torn = finding["interrupt"] or freed_before or flags & _SPLIT or end == End.HEALED
    return counted + int(bool(sight.uncounted_in_interrupts and torn))


def was_just_found(finding: Records, sight: Sight) -> bool:
    """Whether it is of a page from before the start that has not been confirmed yet: it may have been in the
    middle of its uncharge when it was found, whose program ran before there was a record."""
    if not int(finding["flags"]) & FOUND_BEFORE:
        return False
    return sight.confirmed_at is None or int(finding["time"]) / 1e9 < sight.confirmed_at


class Verdicts:
    """Takes findings in, folds those that are alike, and keeps count by cgroup."""

    def __init__(self, stacks: Stacks, name: Callable[[int], str | None]) -> None:
        """`name` gives a cgroup's path by its id, as of now."""
        self._stacks, self._name = stacks, name
        self._waiting: list[Records] = []
        self._found: dict[tuple[object, ...], Mismatch] = {}
        self._by_cgroup: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._doubtful: dict[Place, int] = defaultdict(int)
        self.received = 0
        self.unkept = 0
        """Findings of more kinds than are kept."""
        self._exempted: dict[Exemption, int] = defaultdict(int)

    def take(
        self, findings: Iterable[Records], moves: Mapping[int, int], missed: Missed, sight: Sight
    ) -> None:
        """`moves`: by process, when it last changed cgroups (ns). What needs to know of a move that may
        be under way yet waits for the next time."""
        new = list(findings)
        self.received += len(new)
        settled = int((kernel_seconds() - _MOVE_SECONDS) * 1e9)
        all_of_them, self._waiting = [*self._waiting, *new], []
        for finding in all_of_them:
            if finding["what"] == MismatchClass.UNCHARGED_ALLOC and finding["time"] > settled:
                self._waiting.append(finding)
            else:
                self._judge(finding, moves, missed, sight)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Certain ones first, the last found first."""
        order = {Confidence.CERTAIN.value: 0, Confidence.SUSPECT.value: 1}
        return tuple(sorted(self._found.values(), key=lambda m: (order[m.confidence], -m.time)))

    @property
    def by_cgroup(self) -> Mapping[int, Mapping[str, int]]:
        """Findings by the id of the cgroup that was charged, and class."""
        return self._by_cgroup

    @property
    def doubtful(self) -> Mapping[Place, int]:
        """Pages that suspects cost: the programs count them as lost, but their uncharge may have been
        missed."""
        return self._doubtful

    def forget(self, cgroup: int) -> None:
        """Of a cgroup that is out of the maps there is nothing left to doubt."""
        for place in [place for place in self._doubtful if place[0] == cgroup]:
            del self._doubtful[place]

    def exempted(self) -> Mapping[Exemption, int]:
        """What was found to be legal only here."""
        return self._exempted

    def _judge(self, finding: Records, moves: Mapping[int, int], missed: Missed, sight: Sight) -> None:
        alloc = self._stacks[int(finding["alloc_stack"])].frames
        if finding["what"] == MismatchClass.UNCHARGED_ALLOC:
            move = moves.get(int(finding["tgid"]))
            if move is not None and abs(move - int(finding["time"])) < _MOVE_SECONDS * 1e9:
                self._exempted[Exemption.MOVED] += 1
                return
            if any(map(_INTERRUPT.match, alloc)):
                self._exempted[Exemption.INTERRUPT] += 1
                return
        cgroup = int(finding["charged_to"]) or int(finding["uncharged_from"])
        place = cgroup, int(finding["alloc_stack"])
        if was_just_found(finding, sight):
            self._exempted[Exemption.PREEXISTING] += 1
            self._doubtful[place] += int(finding["lost"])
            return
        self._by_cgroup[cgroup][MismatchClass(int(finding["what"])).label] += 1
        missing = missed_events(finding, missed, sight)
        if missing and finding["lost"]:
            self._doubtful[place] += int(finding["lost"])
        self._fold(self._mismatch(finding, alloc, missing))

    def _fold(self, found: Mismatch) -> None:
        key = found.kind
        known = self._found.get(key)
        if known is not None:
            self._found[key] = replace(
                found,
                count=known.count + 1,
                first_time=known.first_time,
                lost_pages=known.lost_pages + found.lost_pages,
                taken_pages=known.taken_pages + found.taken_pages,
            )
        elif len(self._found) < MOST_KINDS:
            self._found[key] = found
        else:
            self.unkept += 1

    def _mismatch(self, finding: Records, alloc: tuple[str, ...], missed: int) -> Mismatch:
        at = time.time() - kernel_seconds() + int(finding["time"]) / 1e9
        charged, uncharged = int(finding["charged_to"]), int(finding["uncharged_from"])
        was_charged, ended = bool(finding["charge_time"]), finding["end"] != End.NONE
        return Mismatch(
            mismatch_class=MismatchClass(int(finding["what"])).label,
            confidence=(Confidence.SUSPECT if missed else Confidence.CERTAIN).value,
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


def events(finding: Records) -> Iterable[str]:
    """What was seen of the page, in its order, in words."""
    what, flags = MismatchClass(int(finding["what"])), int(finding["flags"])
    order, end_order = int(finding["order"]), int(finding["end_order"])
    if what is MismatchClass.UNCHARGED_ALLOC:
        yield f"allocated with __GFP_ACCOUNT, order {order}, and not marked as charged"
        return
    if flags & FOUND_BEFORE:
        yield f"charged before the start, order {order}"
    elif finding["charge_time"]:
        how = "explicitly" if flags & _EXPLICIT else "by its allocation"
        other = ", for another cgroup than the task's" if flags & _REMOTE else ""
        yield f"charged {how}, order {order}{other}"
    else:
        yield "no charge was seen, nor was it charged at the start"
    if flags & _SPLIT:
        yield "split"
    if flags & _FREEING:
        yield "freed with its mark" + (", twice" if flags & _FREED_BEFORE else "")
    age = (int(finding["time"]) - int(finding["charge_time"])) / 1e9
    since = "it was found" if flags & FOUND_BEFORE else "its charge"
    after = f", {age:.6f} s after {since}" if finding["charge_time"] else ""
    yield _end(what, End(int(finding["end"])), end_order) + after


def _end(what: MismatchClass, end: End, order: int) -> str:
    mark = {
        MismatchClass.WRONG_CGROUP: ", its mark naming another owner",
        MismatchClass.STRAY_UNCHARGE: ", though marked as charged",
    }.get(what, "")
    if end is End.FREE and what is MismatchClass.LOST_UNCHARGE:
        return f"freed, order {order}, its mark gone without an uncharge"
    if end is End.HEALED:
        return f"charged anew, order {order}, and never uncharged"
    verb = {End.FREE: "freed", End.UNCHARGE: "uncharged", End.PUT: "uncharged on the put path"}[end]
    return f"{verb}, order {order}{mark}"
