"""Asks for an offset or a value, and raises an error that says what this kernel lacks."""

from kmemtrace.kernel.facts import Facts


class UnknownLayoutError(Exception):
    """Says in words what this kernel lacks."""


def at(facts: Facts, struct: str, field: str) -> int:
    return first(facts, struct, field)


def first(facts: Facts, struct: str, *fields: str) -> int:
    """Returns the offset in bytes of the first of these fields that the struct has.

    Raises:
        UnknownLayoutError: The struct has none of them.
    """
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
