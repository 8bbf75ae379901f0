"""Tells of slab objects behind a row in the drill-down: by cache and function, and of a cache by cgroup."""

from collections import defaultdict

from kmemtrace import text
from kmemtrace.model.account import CacheUse
from kmemtrace.model.objects import ObjectSite
from kmemtrace.model.row import Row

_MOST_SITES, _MOST_CGROUPS = 8, 8


def object_lines(row: Row, width: int) -> list[str]:
    """Tells what was followed since the start: a line of sums, and one for each of the largest sites.

    There is none where objects are not followed.
    """
    sites = row.sums.object_sites()
    if sites is None:
        return []
    earlier = {} if row.before is None else {_key(s): s for s in row.before.object_sites() or ()}
    shown = [_site(site, earlier.get(_key(site)), row.span.seconds) for site in sites[:_MOST_SITES]]
    more = len(sites) - _MOST_SITES
    return [
        text.fitted(_totals(sites, row), width),
        *(text.cut(line, width) for line in shown),
        *([f"{'':9}and {more} more"] if more > 0 else []),
    ]


def cgroup_lines(row: Row, width: int) -> list[str]:
    """Tells for a row of a slab cache which cgroups have most of it, by the last census."""
    objects: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for cgroup, use in row.sums.shares:
        if isinstance(use, CacheUse):
            objects[cgroup.path] += use.objects
            sizes[cgroup.path] += use.bytes
    paths = sorted(sizes, key=lambda path: (-sizes[path], path))
    lines = []
    for path in paths[:_MOST_CGROUPS]:
        end = f" ({text.count(objects[path])} objects)"
        room = max(1, width - 9 - text.width(end))
        lines.append(f"{text.size(sizes[path]):>7}  {text.shortened(path, room)}{end}")
    more = len(paths) - _MOST_CGROUPS
    return [*lines, *([f"{'':9}and {more} more cgroups"] if more > 0 else [])]


def _key(site: ObjectSite) -> tuple[str, str, int]:
    return site.cache, site.site, site.object_bytes


def _totals(sites: tuple[ObjectSite, ...], row: Row) -> list[tuple[int, str]]:
    failed = sum(site.failed_objects for site in sites)
    return [
        (100, f"objects since the start: {text.count(sum(site.held_objects for site in sites))} held"),
        (95, text.size(sum(site.held_bytes for site in sites))),
        (90, f"{text.rate(row.object_charge_rate)}/s charged"),
        (85, f"{text.rate(row.object_free_rate)}/s freed"),
        (98, f"{text.count(failed)} refused at a limit" if failed else ""),
    ]


def _site(site: ObjectSite, earlier: ObjectSite | None, seconds: float) -> str:
    charged = site.charged_objects - (earlier.charged_objects if earlier else 0)
    freed = site.freed_objects - (earlier.freed_objects if earlier else 0)
    parts = [f"{text.count(site.held_objects)} held"]
    for sign, count in (("+", charged), ("-", freed)):
        if count > 0 and seconds > 0:
            parts.append(f"{sign}{text.rate(count / seconds)}/s")
    parts += [f"{text.count(site.failed_objects)} refused"] if site.failed_objects else []
    return f"{text.size(site.held_bytes):>7}  {site.cache} < {site.site} ({', '.join(parts)})"
