"""Makes the report of `kmemtrace dead`, as text and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kmemtrace.model.census import Pin, PinKind, Removed
from kmemtrace.model.document import account_document
from kmemtrace.model.snapshot import SCHEMA_VERSION
from kmemtrace.printable import printable
from kmemtrace.text import size

_MOST_PINS = 3
_MOST_HOLDERS = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """What keeps removed cgroups: one file, or all memory of a kind."""

    pin: Pin | None
    """Its `bytes` are those of all of them together; None: kernel memory, or where `bytes` is 0 mere
    references."""
    bytes: int
    cgroups: int


def holders(found: Sequence[Removed]) -> list[Holder]:
    """What keeps these cgroups, what keeps most of them first. A cgroup counts with each of its holders."""
    cgroups, held = Counter[Pin | None](), Counter[Pin | None]()
    bare = 0
    for one in found:
        parts = dict(_parts(one))
        cgroups.update(parts.keys())
        held.update(parts)
        bare += not parts
    told = [Holder(pin and replace(pin, bytes=held[pin]), held[pin], n) for pin, n in cgroups.items()]
    told += [Holder(None, 0, bare)] if bare else []
    return sorted(told, key=lambda holder: (-holder.cgroups, -holder.bytes))


def _parts(one: Removed) -> Iterator[tuple[Pin | None, int]]:
    """Bytes by what has them: each pin without its size, None for kernel memory."""
    for pin in one.pins:
        yield replace(pin, bytes=0), pin.bytes
    if kernel := one.counted.account.explained_bytes:
        yield None, kernel


def report(found: Sequence[Removed], most: int) -> str:
    """Tells of at most `most` removed cgroups, those that hold most first, each with what keeps it."""
    if not found:
        return "No cgroup was removed that the kernel still has."
    held = sum(one.held_bytes for one in found)
    more = len(found) - most
    lines = [
        f"{len(found):,} removed cgroups that the kernel still has; they hold {size(held)}",
        *_summary(holders(found)),
        *(line for one in found[:most] for line in ["", *_lines(one)]),
        *(["", f"... and {more:,} more"] if more > 0 else []),
    ]
    return "\n".join(map(printable, lines))


def _summary(held_by: Sequence[Holder]) -> list[str]:
    """Thousands are mostly kept by the same few files. Nothing where no two cgroups have one in common."""
    if not any(holder.cgroups > 1 for holder in held_by):
        return []
    rest = len(held_by) - _MOST_HOLDERS
    return [
        "",
        "CGROUPS    HOLD  HELD BY",
        *(
            f"{holder.cgroups:>7,} {size(holder.bytes) if holder.bytes else '-':>7}  {_holder(holder)}"
            for holder in held_by[:_MOST_HOLDERS]
        ),
        *([f"                 ... and {rest:,} more"] if rest > 0 else []),
    ]


def _holder(holder: Holder) -> str:
    if holder.pin is not None:
        return _pin(holder.pin)
    return "kernel memory" if holder.bytes else "nothing but references"


def _lines(one: Removed) -> list[str]:
    kernel = one.counted.account.explained_bytes
    rest = len(one.pins) - _MOST_PINS
    return [
        f"{size(one.held_bytes):>7}  {one.counted.path}",
        *([f"         {size(kernel):>7}  kernel memory"] if kernel else []),
        *(f"         {size(pin.bytes):>7}  {_pin(pin)}" for pin in one.pins[:_MOST_PINS]),
        *([f"                  ... and {rest} more files"] if rest > 0 else []),
        f"                  {_references(one)}",
    ]


def _pin(pin: Pin) -> str:
    if pin.kind is PinKind.ANON:
        return "anonymous memory"
    kind = "page cache" if pin.kind is PinKind.FILE else "shared memory"
    if pin.device is None:
        return f"{kind} of other files"
    return f"{kind} of {pin.path or 'a file without a name'} on {pin.device}, inode {pin.inode}"


def _references(one: Removed) -> str:
    references = "reference" if one.references == 1 else "references"
    below = f", {one.below} of them removed cgroups below it" if one.below else ""
    alone = "nothing but " if not one.held_bytes else ""
    return f"{alone}{one.references:,} {references}{below}"


def dead_document(found: Sequence[Removed], host: str, kernel: str, time: float) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "time": time,
        "host": host,
        "kernel": kernel,
        "holders": [_holder_document(holder) for holder in holders(found)],
        "cgroups": [_cgroup(one) for one in found],
    }


def _holder_document(holder: Holder) -> dict[str, Any]:
    kind = "kernel" if holder.bytes else "references"
    pin = _pin_document(holder.pin) if holder.pin else {"kind": kind, "bytes": holder.bytes}
    return {"cgroups": holder.cgroups} | pin


def _cgroup(one: Removed) -> dict[str, Any]:
    return {
        "path": one.counted.path,
        "id": one.counted.key.id,
        "hierarchy": one.counted.key.hierarchy,
        "held_bytes": one.held_bytes,
        "account": account_document(one.counted.account),
        "pins": [_pin_document(pin) for pin in one.pins],
        "references": one.references,
        "removed_below": one.below,
    }


def _pin_document(pin: Pin) -> dict[str, Any]:
    known = {"device": pin.device, "inode": pin.inode, "path": pin.path}
    return {"kind": pin.kind.value, "bytes": pin.bytes} | {k: v for k, v in known.items() if v is not None}
