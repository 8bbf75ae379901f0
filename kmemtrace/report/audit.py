"""Makes the report of `kmemtrace audit`, as text and as JSON."""

from typing import Any

from kmemtrace.model.account import Account
from kmemtrace.model.audit import Audit, Audited, Outcome
from kmemtrace.model.census import Census
from kmemtrace.model.document import account_document
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import SCHEMA_VERSION
from kmemtrace.model.unseen import Unseen
from kmemtrace.printable import printable

_MOST_CACHES = 5


def report(found: Audit, most: int) -> str:
    """Tells drifts with their evidence, then at most `most` of the other cgroups, then the verdict."""
    rest = [one for one in found.cgroups if one.outcome is not Outcome.DRIFTED and _has_any(one)]
    more = len(rest) - most
    lines = [
        *_heading(found.readings[-1], len(found.readings)),
        *(line for one in found.drifts for line in ["", *_drift(one)]),
        "",
        *_table(rest[:most]),
        *([f"... and {more:,} more cgroups"] if more > 0 else []),
        "",
        *(
            f"not read: {what}: {why}"
            for what, why in found.readings[-1].unseen.items()
            if what is not Unseen.SOCKETS
        ),
        _verdict(found),
    ]
    return "\n".join(map(printable, lines))


def _heading(census: Census, readings: int) -> list[str]:
    word = "reading" if readings == 1 else "readings"
    return [
        (
            f"{readings} {word} of {census.page_frames:,} page frames: {census.blocks:,} charged blocks of "
            f"pages, {census.objects:,} charged objects; the last took {census.seconds:.2f} s"
        )
    ]


def _has_any(one: Audited) -> bool:
    return one.counted.account.explained_bytes > 0 or bool(one.counted.account.kernel_bytes)


_COLUMNS = ("KERNEL", "PAGES", "SLAB", "PERCPU", "AHEAD", "APART")


def _table(rows: list[Audited]) -> list[str]:
    """Makes the table, all of it in bytes: an audit to the byte does not round."""
    if not rows:
        return []
    head = "".join(name.rjust(15) for name in _COLUMNS)
    return [f"{head}  CGROUP", *(_row(one) for one in rows)]


def _row(one: Audited) -> str:
    account = one.counted.account
    cells = (
        account.kernel_bytes,
        account.pages_bytes,
        account.slab_bytes,
        account.percpu_bytes,
        account.ahead_bytes,
        account.unexplained_bytes,
    )
    dead = " (removed)" if one.counted.state is CgroupState.DEAD else ""
    numbers = "".join(("-" if cell is None else f"{cell:,}").rjust(15) for cell in cells)
    return f"{numbers}  {one.counted.path}{dead}"


def _drift(one: Audited) -> list[str]:
    account = one.counted.account
    over = "more than" if one.drift_bytes > 0 else "less than"
    dead = " (removed)" if one.counted.state is CgroupState.DEAD else ""
    return [
        f"counter_drift: {one.confidence}: {one.counted.path}{dead}",
        f"  the kernel charged {account.kernel_bytes:,} bytes: {abs(one.drift_bytes):,} {over} is there",
        f"  {_parts(account)}",
        *(
            f"    {use.bytes:>15,}  {use.cache} ({use.objects:,} objects)"
            for use in account.caches[:_MOST_CACHES]
        ),
    ]


def _parts(account: Account) -> str:
    percpu = "not read" if account.percpu_bytes is None else f"{account.percpu_bytes:,}"
    return (
        f"pages {account.pages_bytes:,}, slab {account.slab_bytes:,}, per-CPU {percpu}, "
        f"charged ahead {account.ahead_bytes:,}"
    )


def _verdict(found: Audit) -> str:
    certain, suspect = _counts(found)
    unread = sum(one.outcome is Outcome.UNREAD for one in found.cgroups)
    if certain:
        return f"DRIFTED: of {certain} cgroups the kernel's count is not what is there."
    if suspect:
        return (
            f"INCONCLUSIVE: {suspect} cgroups were at work, and what the kernel charged was in no reading "
            "what was there. Try again with more --readings, or when they rest."
        )
    if unread == len(found.cgroups):
        return "INCONCLUSIVE: no cgroup could be audited."
    judged = len(found.cgroups) - unread
    left = f"; {unread} could not be audited" if unread else ""
    return f"BALANCED: of {judged} cgroups, what the kernel charged is what is there{left}."


def _counts(found: Audit) -> tuple[int, int]:
    certain = sum(one.confidence == "certain" for one in found.drifts)
    return certain, len(found.drifts) - certain


def audit_document(found: Audit, host: str, kernel: str) -> dict[str, Any]:
    last = found.readings[-1]
    return {
        "schema_version": SCHEMA_VERSION,
        "time": last.time,
        "host": host,
        "kernel": kernel,
        "readings": len(found.readings),
        "census_seconds": last.seconds,
        "charged_objects": last.objects,
        "unseen": dict(last.unseen),
        "cgroups": [_cgroup(one) for one in found.cgroups],
    }


def _cgroup(one: Audited) -> dict[str, Any]:
    told: dict[str, Any] = {
        "path": one.counted.path,
        "id": one.counted.key.id,
        "hierarchy": one.counted.key.hierarchy,
        "state": one.counted.state.value,
        "outcome": one.outcome.value,
        "account": account_document(one.counted.account),
    }
    if one.confidence is not None:
        told |= {"confidence": one.confidence.value, "drift_bytes": one.drift_bytes}
    return told
