"""Makes the JSON document of a Snapshot, there and back: the contract of `top --json`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kmemtrace.model.account import Account
from kmemtrace.model.codec import Codec, Json, Shape
from kmemtrace.model.losses import Losses
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.snapshot import SCHEMA_VERSION, Cgroup, OldPages, Site, Snapshot


def document(snapshot: Snapshot, previous: Snapshot | None = None) -> Json:
    """Returns everything in a Snapshot as JSON types, and what follows from it and from the one before.

    What the tier cannot see is absent, never zero.

    Args:
        snapshot: The Snapshot.
        previous: The Snapshot before; None: it is the first.
    """
    told: Json = _CODEC.encode(snapshot)
    for row in told["cgroups"]:
        if "oldest_seconds" in row:
            row["oldest_seconds"] = snapshot.age_seconds(row["oldest_seconds"])
        row["held_bytes"] = row["held_pages"] * snapshot.page_size
        if "account" in row and snapshot.census is not None:
            row["account"]["age_seconds"] = snapshot.census.age_seconds
    interval = {"interval_seconds": snapshot.seconds_since(previous)}
    return {"schema_version": SCHEMA_VERSION, **interval, **told}


def snapshot_of(told: Mapping[str, Any]) -> Snapshot:
    """Returns the Snapshot that document() told of: nothing is lost there and back.

    Keys that are not known, as of a later version, are passed over.

    Raises:
        ValueError: It is of another schema, or not as document() writes it.
    """
    version = told.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}, where {SCHEMA_VERSION} can be read")
    snapshot: Snapshot = _CODEC.decode(Snapshot, told)
    cgroups = (
        c if c.oldest_at is None else replace(c, oldest_at=snapshot.watched_seconds - c.oldest_at)
        for c in snapshot.cgroups
    )
    return replace(snapshot, cgroups=tuple(cgroups))


def mismatch_document(mismatch: Mismatch) -> Json:
    told: Json = _CODEC.encode(mismatch)
    return told


def losses_document(losses: Losses) -> Json:
    told: Json = _CODEC.encode(losses)
    return told


def old_pages_document(old: OldPages, page_size: int) -> Json:
    told: Json = _CODEC.encode(old)
    return told | {"bytes": old.pages * page_size}


def account_document(account: Account) -> Json:
    """Returns an account as JSON types; what could not be read is absent."""
    told: Json = _CODEC.encode(account)
    return told


def _held(of: Cgroup | Site) -> Json:
    return {"held_pages": of.held_pages}


def _held_objects(of: ObjectSite) -> Json:
    return {"held_objects": of.held_objects, "held_bytes": of.held_bytes}


def _losses_in_all(losses: Losses) -> Json:
    sums = {"map_full": sum(losses.map_full.values())}
    if losses.recursion_misses is not None:
        sums["recursion_misses"] = sum(losses.recursion_misses.values())
    return sums


def _unexplained(account: Account) -> Json:
    unexplained = account.unexplained_bytes
    return {} if unexplained is None else {"unexplained_bytes": unexplained}


_CODEC = Codec(
    {
        Account: Shape({"ahead_bytes": "stock_bytes"}, more=_unexplained),
        Cgroup: Shape({"oldest_at": "oldest_seconds"}, merged=frozenset({"key"}), more=_held),
        OldPages: Shape(merged=frozenset({"key"})),
        Site: Shape(more=_held),
        ObjectSite: Shape(more=_held_objects),
        Losses: Shape(
            {"map_full": "map_full_by_map", "recursion_misses": "recursion_misses_by_program"},
            more=_losses_in_all,
        ),
        Mismatch: Shape(
            {"mismatch_class": "class"},
            null=frozenset({"charged_to", "uncharged_from"}),
            hexadecimal=frozenset({"page", "ended_page"}),
        ),
    }
)
