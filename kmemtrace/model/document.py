"""The JSON document of a Snapshot: the contract of `top --json`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kmemtrace.model.snapshot import SCHEMA_VERSION, Allocations, Cgroup, Losses, Mismatch, Site, Snapshot


def document(snapshot: Snapshot) -> dict[str, Any]:
    """Everything in `snapshot` as JSON types. What the tier cannot see is absent, never zero."""
    doc: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "time": snapshot.time,
        "host": snapshot.host,
        "kernel": snapshot.kernel,
        "tier": snapshot.tier.value,
        "interval_seconds": snapshot.interval_seconds,
        "page_size": snapshot.page_size,
        "cgroups": [_cgroup(c, snapshot.page_size) for c in snapshot.cgroups],
        "gone": dataclasses.asdict(snapshot.gone),
        "mismatches": [mismatch_document(m) for m in snapshot.mismatches],
        "exempt": dict(snapshot.exempt),
        "losses": losses_document(snapshot.losses),
        "maps": {n: {"entries": m.entries, "capacity": m.capacity} for n, m in snapshot.maps.items()},
        "unseen": dict(snapshot.unseen),
    }
    if snapshot.preexisting_pages is not None:
        doc["preexisting_pages"] = snapshot.preexisting_pages
    if snapshot.own_bytes is not None:
        doc["own_bytes"] = snapshot.own_bytes
    if snapshot.hosts is not None:
        doc["hosts"] = snapshot.hosts
    if snapshot.allocations is not None:
        doc["allocations"] = [_allocations(a) for a in snapshot.allocations]
    if snapshot.charge_share is not None:
        doc["charge_share"] = snapshot.charge_share
    return doc


def _allocations(of_order: Allocations) -> dict[str, Any]:
    return {
        "accounted": of_order.accounted,
        "order": of_order.order,
        "latency": of_order.latency.to_json(),
    }


_OPTIONAL = (
    "label",
    "oldest_seconds",
    "failed_by_errno",
    "explicit_pages",
    "reclaim_stalls",
    "reclaim_stall_seconds",
    "reparented_to",
    "kernel_pages_change",
    "host",
)


def _cgroup(cgroup: Cgroup, page_size: int) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "path": cgroup.path,
        "id": cgroup.key.id,
        "hierarchy": cgroup.key.hierarchy,
        "state": cgroup.state.value,
        "charged_pages": cgroup.charged_pages,
        "uncharged_pages": cgroup.uncharged_pages,
        "held_pages": cgroup.held_pages,
        "held_bytes": cgroup.held_pages * page_size,
        "failed_charges": cgroup.failed_charges,
        "sites": [_site(s) for s in cgroup.sites],
        "latency": {name: h.to_json() for name, h in cgroup.latency.items()},
        "mismatches": dict(cgroup.mismatches),
    }
    for name in _OPTIONAL:
        value = getattr(cgroup, name)
        if value is not None:
            doc[name] = dict(value) if isinstance(value, Mapping) else value
    return doc


def _site(site: Site) -> dict[str, Any]:
    return {
        "kind": site.kind.value,
        "symbol": site.symbol,
        "held_pages": site.held_pages,
        "charged_pages": site.charged_pages,
        "stack": list(site.stack),
    }


def losses_document(losses: Losses) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "map_full": sum(losses.map_full.values()),
        "ring_drops": losses.ring_drops,
        "healed": losses.healed,
        "swept": losses.swept,
        "unmatched_frees": losses.unmatched_frees,
        "unknown_stacks": losses.unknown_stacks,
        "unpaired": losses.unpaired,
        "pages_busy": losses.pages_busy,
    }
    if losses.recursion_misses is not None:
        doc["recursion_misses"] = sum(losses.recursion_misses.values())
        doc["recursion_misses_by_program"] = dict(losses.recursion_misses)
    return doc


def mismatch_document(mismatch: Mismatch) -> dict[str, Any]:
    return ({} if mismatch.host is None else {"host": mismatch.host}) | {
        "class": mismatch.mismatch_class,
        "confidence": mismatch.confidence,
        "page": hex(mismatch.page),
        "order": mismatch.order,
        "charged_to": mismatch.charged_to,
        "uncharged_from": mismatch.uncharged_from,
        "alloc_stack": list(mismatch.alloc_stack),
        "free_stack": list(mismatch.free_stack),
        "comm": mismatch.comm,
        "pid": mismatch.pid,
        "time": mismatch.time,
        "first_time": mismatch.first_time,
        "count": mismatch.count,
        "missed_events": mismatch.missed_events,
        "events": list(mismatch.events),
    }
