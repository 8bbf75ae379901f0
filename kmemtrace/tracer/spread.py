"""Spreads keys over places as the programs do (probes/spread.h)."""

from kmemtrace.tracer.capacity import MIX, WALK_HOPS, WALK_WAYS


def spread(key: int, places: int) -> int:
    """Returns the place of a key, one of so many, a power of two."""
    return (key * MIX & (1 << 64) - 1) >> 65 - places.bit_length()


def first_place(address: int) -> int:
    """Returns the first of the places that what was learned of a return address may have."""
    return spread(address, WALK_HOPS) * WALK_WAYS
