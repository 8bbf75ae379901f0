"""Whether a cgroup's memory counter is explained by what the kernel says it counts."""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmemtrace.cgroups.mounts import MemoryHierarchy

_STOCK_PAGES = 64
"""MEMCG_CHARGE_BATCH: what each CPU may have charged ahead (32 before 5.14)."""
_BYTES_PAGES = 2
"""What each CPU may have charged ahead for objects smaller than a page, and rounding."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A cgroup's charge counter and its breakdown, in base pages."""

    charged: int
    parts: Mapping[str, int]
    slack: int
    """How far they may legally be apart."""

    @property
    def drift(self) -> int:
        """Pages that are charged and that nothing explains; negative: fewer than there are."""
        return self.charged - sum(self.parts.values())

    @property
    def drifted(self) -> bool:
        return abs(self.drift) > self.slack


def read_counter(hierarchy: MemoryHierarchy, folder: Path, held_pages: int) -> Counter | None:
    """Of a cgroup and those below it. `held_pages`: what the tracer followed and is still charged, for
    kernels that do not tell what their kernel memory adds up to. None where a part is not told.

    Statistics lag by up to 2 s: read twice, that far apart, before believing in a drift.
    """
    slack = (os.cpu_count() or 1) * (_STOCK_PAGES + _BYTES_PAGES)
    try:
        stat = _numbers(folder / "memory.stat")
        if hierarchy.version == 2:
            charged = int((folder / "memory.current").read_text(encoding="ascii"))
            parts = {name: stat[name] for name in ("anon", "file", "sock")}
            if "kernel" in stat:  # 5.18
                parts["kernel"] = stat["kernel"]
            else:
                parts |= {name: stat[name] for name in ("slab", "percpu") if name in stat}
                parts["kernel pages"] = held_pages * _PAGE
        else:
            charged = int((folder / "memory.usage_in_bytes").read_text(encoding="ascii"))
            parts = {name: stat[f"total_{name}"] for name in ("rss", "cache")}
            kmem = (folder / "memory.kmem.usage_in_bytes").read_text(encoding="ascii")
            parts["kernel"] = int(kmem)
    except (OSError, KeyError):
        return None
    return Counter(charged // _PAGE, {n: bytes_ // _PAGE for n, bytes_ in parts.items()}, slack)


_PAGE = resource.getpagesize()


def _numbers(path: Path) -> dict[str, int]:
    return {
        name: int(number) for name, number in map(str.split, path.read_text(encoding="ascii").splitlines())
    }
