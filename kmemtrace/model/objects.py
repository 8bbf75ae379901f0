"""Defines what is told of the objects of the slab that were followed since the start."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectSite:
    """Objects of one slab cache that one function asked for, charged to one cgroup since the start."""

    cache: str
    site: str
    """The function that called the allocator; "(unknown)" where the kernel hides its name."""
    charged_objects: int
    freed_objects: int
    failed_objects: int
    """How many objects a limit refused.

    Before Linux 6.0 those that were asked for with __GFP_ACCOUNT: of one that was not given no event tells
    whether its cache would have accounted it."""
    object_bytes: int
    """Bytes that one object is charged with."""

    @property
    def held_objects(self) -> int:
        return self.charged_objects - self.freed_objects

    @property
    def held_bytes(self) -> int:
        return self.held_objects * self.object_bytes


def added_objects(sites: Iterable[ObjectSite]) -> tuple[ObjectSite, ...]:
    """Adds sites up to one for each cache and function, most held bytes first, then most charged."""
    found: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    for one in sites:
        key = (one.cache, one.site, one.object_bytes)
        charged, freed, failed = found.get(key, (0, 0, 0))
        found[key] = charged + one.charged_objects, freed + one.freed_objects, failed + one.failed_objects
    made = [
        ObjectSite(cache, site, *counts, object_bytes=size) for (cache, site, size), counts in found.items()
    ]
    return tuple(sorted(made, key=lambda one: (-one.held_bytes, -one.charged_objects, one.cache, one.site)))
