"""Tells whether the kernel's count of a cgroup's kernel memory is what its parts add up to.

The parts are pages, objects and areas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kmemtrace.model.account import Account
from kmemtrace.model.census import Census, Counted
from kmemtrace.model.enums import Confidence
from kmemtrace.model.snapshot import CgroupKey
from kmemtrace.model.unseen import Unseen

_MAY_BE_KEPT = 1 << 20
"""Bytes that the CPUs may then keep for a cgroup. A CPU's stock grows by less than a page for each charge
that is larger than what is in it, so that it can become as large as the largest charge: those of per-CPU
areas have some 100 KB."""
READINGS = 3
"""How many censuses have to agree before a drift is certain."""


class Outcome(StrEnum):
    BALANCED = "balanced"
    """In a reading, what the kernel charged was what is there, but for what may be charged ahead."""
    DRIFTED = "drifted"
    """In no reading was what the kernel charged what is there. How sure that is, Audited.confidence says."""
    UNREAD = "unread"
    """The kernel does not tell what it charged, or not all of it could be read."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One cgroup, as it was in all readings that have it."""

    counted: Counted
    """The cgroup as of the last reading."""
    outcome: Outcome
    confidence: Confidence | None
    """How sure a drift is: certain where nothing of the cgroup changed in READINGS readings that show it."""
    drift_bytes: int
    """Bytes beyond what could be explained, in the reading that was nearest: negative where the kernel's
    count is lower than what is there, and 0 where it is balanced."""


@dataclass(frozen=True, slots=True)
class Audit:
    readings: tuple[Census, ...]
    cgroups: tuple[Audited, ...]
    """All cgroups: drifts first, the largest first, then as in the census."""

    @property
    def drifts(self) -> tuple[Audited, ...]:
        return tuple(one for one in self.cgroups if one.outcome is Outcome.DRIFTED)


def audit(readings: Sequence[Census]) -> Audit:
    """Judges each cgroup of the last census by one or more censuses, in their order."""
    by_key: dict[CgroupKey, list[Counted]] = {}
    for census in readings:
        for counted in census.cgroups:
            by_key.setdefault(counted.key, []).append(counted)
    last = readings[-1].cgroups
    kept = _MAY_BE_KEPT if Unseen.STOCK in readings[-1].unseen else 0
    cgroups = [_audited(by_key[counted.key], kept) for counted in last]
    cgroups.sort(key=lambda one: (one.outcome is not Outcome.DRIFTED, -abs(one.drift_bytes)))
    return Audit(tuple(readings), tuple(cgroups))


def beyond(account: Account, kept_bytes: int = 0) -> int | None:
    """Tells how many bytes nothing explains.

    Blocks whose size the page does not tell may be larger than they were counted.

    Args:
        account: The cgroup's account.
        kept_bytes: What the CPUs may keep and was not read.

    Returns:
        The bytes; negative where there is more than was charged; None where it cannot be said.
    """
    unexplained = account.unexplained_bytes
    if unexplained is None or account.percpu_bytes is None or account.zswap_bytes is None:
        return None
    if unexplained < 0:
        return min(0, unexplained + account.moved_bytes)
    return max(0, unexplained - account.moved_bytes - kept_bytes - account.doubtful_bytes)


def _audited(of: Sequence[Counted], kept_bytes: int) -> Audited:
    found = [beyond(counted.account, kept_bytes) for counted in of]
    told = [one for one in found if one is not None]
    if not told:
        return Audited(of[-1], Outcome.UNREAD, None, 0)
    nearest = min(told, key=abs)
    if nearest == 0:
        return Audited(of[-1], Outcome.BALANCED, None, 0)
    recent = of[-READINGS:]
    steady = len(recent) == READINGS and len({_kernel_memory(one.account) for one in recent}) == 1
    confidence = Confidence.CERTAIN if steady else Confidence.SUSPECT
    return Audited(of[-1], Outcome.DRIFTED, confidence, nearest)


def _kernel_memory(account: Account) -> Account:
    """Without what comes and goes beside it and has no part in its sum."""
    return replace(account, sock_bytes=None)
