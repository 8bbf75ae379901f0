"""Asks for an offset or a value, and says what this kernel lacks."""

from kmemtrace.kernel.facts import Facts


class UnknownLayoutError(Exception):
    """What this kernel lacks, in words."""


def at(facts: Facts, struct: str, field: str) -> int:
    return first(facts, struct, field)


def first(facts: Facts, struct: str, *fields: str) -> int:
    """Offset of the first of these fields that there is."""
    for field in fields:
        offset = facts.offset(struct, field)
        if offset is not None:
            return offset
    raise UnknownLayoutError(f"{struct} has no {' or '.join(fields)}")


def value(facts: Facts, name: str, enum: str | None = None) -> int:
    value = facts.enumerator(name, enum)
    if value is None:
        raise UnknownLayoutError(f"there is no {name}")
    return value
