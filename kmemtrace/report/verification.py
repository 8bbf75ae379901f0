"""Makes the report of `kmemtrace verify`, as text and as JSON."""

import dataclasses
import signal
from collections import defaultdict
from typing import Any

from kmemtrace.model.document import losses_document, mismatch_document
from kmemtrace.model.snapshot import SCHEMA_VERSION, Site, Snapshot
from kmemtrace.model.verification import (
    AccountReading,
    CounterReading,
    Departure,
    KernelReading,
    Verdict,
    Verification,
)
from kmemtrace.printable import printable
from kmemtrace.report import mismatch

_MOST_SITES = 10
_WORTH_TELLING_SECONDS = 1.0


def report(found: Verification) -> str:
    """Tells what was found; the verdict comes last."""
    snapshot = found.snapshot
    lines = [
        f"{_what(found)} on {snapshot.kernel}, {snapshot.tier} tier, {found.seconds:.1f} s",
        "",
        (
            f"charged {snapshot.charged_pages:,} pages, uncharged {snapshot.uncharged_pages:,}, "
            f"{_lost(snapshot)}still held {snapshot.held_pages:,}"
        ),
        *_held(found),
        *_counter(found),
        *_exempt(found),
        *_losses(found),
        *_account(found),
        *(line for one in found.mismatches for line in ["", *mismatch.lines(one)]),
        "",
        *_unjudged(found),
        *_ends(found),
        _verdict(found),
    ]
    return "\n".join(map(printable, lines))


def _lost(snapshot: Snapshot) -> str:
    return f"lost {snapshot.lost_pages:,}, " if snapshot.lost_pages else ""


def _what(found: Verification) -> str:
    if not found.command:
        return "the whole machine"
    return " ".join(found.command)


def how_it_ended(status: int) -> str:
    """Says in words how a command ended; `status` is its exit status, negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-status}"


def left_behind(found: Verification) -> str:
    """Says that processes were left behind and killed; empty where there were none."""
    if not found.killed:
        return ""
    were = "it was" if found.killed == 1 else "they were"
    return f"the command left {_processes(found.killed)} behind that did not end in time: {were} killed"


def went(to: Departure) -> str:
    """Returns a line of where processes of the command went."""
    last = f"the last {to.comm} ({to.pid})"
    charged = ": nobody is charged there" if to.path == "/" else ""
    return f"  {to.path}{charged}: {_processes(to.processes)}, {last}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count:,} processes"


def _held(found: Verification) -> list[str]:
    rows = [
        f"  {site.held_pages:>9,}  {site.kind.value:<13} {site.symbol}  in {path}"
        for path, site in found.held
    ]
    more = len(rows) - _MOST_SITES
    return rows[:_MOST_SITES] + ([f"  ... and {more} more call sites"] if more > 0 else [])


def _counter(found: Verification) -> list[str]:
    if found.counter is None:
        return []
    parts = ", ".join(f"{name} {pages:,}" for name, pages in found.counter.parts.items())
    drift = found.counter.charged - sum(found.counter.parts.values())
    return [
        f"the cgroup's counter: {found.counter.charged:,} pages; its parts: {parts}",
        f"  apart by {drift:+,}; up to {found.counter.slack:,} may be charged ahead by its CPUs",
        *_kernel(found.counter.kernel),
    ]


def _kernel(kernel: KernelReading | None) -> list[str]:
    if kernel is None:
        return []
    known = ", ".join(f"{name} {pages:,}" for name, pages in kernel.known.items())
    more = max(0, kernel.unexplained)
    return [f"  of it kernel memory: {kernel.charged:,}; known of that: {known}; unexplained: {more:,}"]


def _exempt(found: Verification) -> list[str]:
    if not found.snapshot.exempt:
        return []
    counts = ", ".join(f"{name} {n:,}" for name, n in found.snapshot.exempt.items())
    return [f"legal, though they look like mismatches: {counts}"]


def _losses(found: Verification) -> list[str]:
    return [f"missed events: {found.missed_events:,}"] if found.missed_events else []


def _account(found: Verification) -> list[str]:
    """Tells what the cgroup's account says, and what that means for what was missed or found."""
    account = found.account
    if account is None:
        return []
    if account.charged_bytes is None:
        return [f"no account of the cgroup: {account.refusal}"]
    sums = f"charged {account.charged_bytes:,} bytes of kernel memory, found {account.explained_bytes:,}"
    if not account.exact:
        doubtful = f", or up to {account.doubtful_bytes:,} more" if account.doubtful_bytes else ""
        return [f"the cgroup's account, which settles nothing: {sums}{doubtful}"]
    left = found.unsettled_events
    rest = f"; of the other {left:,} it tells nothing" if left else ""
    settled = f"  settles {found.settled_events:,} of the missed events: a lost, stray or wrong uncharge"
    return [
        f"the cgroup's account: {sums}, to the byte",
        *([f"{settled} would have left it off{rest}"] if found.missed_events else []),
        *(["  refutes what is suspected below: it would have left it off, too"] if found.refuted else []),
    ]


def _unjudged(found: Verification) -> list[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, why in found.unjudged.items():
        by_reason[why].append(name)
    waited = f"waited {found.waited_seconds:.1f} s first, until the pages charged before the start were known"
    return [
        *([waited] if found.waited_seconds >= _WORTH_TELLING_SECONDS else []),
        *(f"not judged: {', '.join(names)}: {why}" for why, names in by_reason.items()),
    ]


def _ends(found: Verification) -> list[str]:
    """Tells how the command and its processes ended."""
    status = found.command_status
    how = "were followed to" if found.followed else "went to other cgroups, where nothing was followed"
    return [
        *([f"interrupted after {found.seconds:.1f} s"] if found.interrupted else []),
        *([f"the command's processes {how}:"] if found.departures else []),
        *map(went, found.departures),
        *([f"the command failed: {how_it_ended(status)}"] if status else []),
        *([left_behind(found)] if found.killed else []),
    ]


def _verdict(found: Verification) -> str:
    match found.verdict:
        case Verdict.MISMATCH:
            return "MISMATCH: the promise was broken."
        case Verdict.INCONCLUSIVE:
            return f"INCONCLUSIVE: {'; '.join(found.doubts)}."
        case Verdict.BALANCED:
            how_far = " as far as this tier can see" if found.unjudged else ""
            but = ", though the command failed" if found.command_failed else ""
            return (
                f"BALANCED{how_far}{but}: each page charged{_where(found)} was uncharged as it was charged, "
                "or is held."
            )


def _where(found: Verification) -> str:
    if not found.command:
        return ""
    return " where the command's processes were" if found.followed else " in the command's cgroup"


def verification_document(found: Verification) -> dict[str, Any]:
    """Returns what was found as JSON types; what was not read or not asked for is absent."""
    snapshot = found.snapshot
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "verdict": found.verdict.value,
        "doubts": found.doubts,
        "command": list(found.command),
        "kernel": snapshot.kernel,
        "tier": snapshot.tier.value,
        "seconds": found.seconds,
        "charged_pages": snapshot.charged_pages,
        "uncharged_pages": snapshot.uncharged_pages,
        "lost_pages": snapshot.lost_pages,
        "held_pages": snapshot.held_pages,
        "held": [_held_document(path, site) for path, site in found.held],
        "mismatches": [mismatch_document(m) for m in found.mismatches],
        "exempt": dict(snapshot.exempt),
        "unjudged": dict(found.unjudged),
        "unjudged_seconds": dict(snapshot.unjudged_seconds),
        "unjudged_uncharges": found.unsearched,
        "waited_seconds": found.waited_seconds,
        "missed_events": found.missed_events,
        "settled_events": found.settled_events,
        "mismatches_refuted": found.refuted,
        "losses": losses_document(snapshot.losses),
        "departures": [dataclasses.asdict(one) for one in found.departures],
        "followed": found.followed,
        "killed_processes": found.killed,
        "interrupted": found.interrupted,
    }
    if found.command_status is not None:
        document["command_status"] = found.command_status
        document["command_failed"] = found.command_failed
    if found.account is not None:
        document["account"] = _account_document(found.account)
    if found.counter is not None:
        document["counter"] = _counter_document(found.counter)
    return document


def _held_document(path: str, site: Site) -> dict[str, Any]:
    return {
        "path": path,
        "kind": site.kind.value,
        "symbol": site.symbol,
        "held_pages": site.held_pages,
        "stack": list(site.stack),
    }


def _counter_document(counter: CounterReading) -> dict[str, Any]:
    document: dict[str, Any] = {
        "charged_pages": counter.charged,
        "parts": dict(counter.parts),
        "slack_pages": counter.slack,
    }
    if counter.kernel is not None:
        document["kernel"] = {
            "charged_pages": counter.kernel.charged,
            "known": dict(counter.kernel.known),
            "unexplained_pages": counter.kernel.unexplained,
            "slack_pages": counter.kernel.slack,
        }
    return document


def _account_document(account: AccountReading) -> dict[str, Any]:
    if account.charged_bytes is None:
        return {"refusal": account.refusal}
    return {
        "charged_bytes": account.charged_bytes,
        "explained_bytes": account.explained_bytes,
        "doubtful_bytes": account.doubtful_bytes,
        "exact": account.exact,
    }
