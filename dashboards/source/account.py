"""What kernel memory is made of, by the census; rows of the dashboards of one host and of one cgroup."""

from dashboards.source.panels import HOST, ONLY_CENSUS, Panel, Query, graph, of
from kmemtrace.model.metrics import Metric


def by_part(labels: str) -> Panel:
    return graph(
        "Kernel memory, by part",
        "What the census found: whole pages, slab objects, per-CPU areas, compressed swap, and what was "
        "charged ahead. From before the start too.",
        "bytes",
        Query(f"sum by (part) ({of(Metric.ACCOUNT_BYTES, labels)})", "{{part}}"),
        stack=True,
        empty=ONLY_CENSUS,
    )


def unexplained(labels: str, legend: str) -> Panel:
    """The ten cgroups of which most is not explained."""
    metric = of(Metric.UNEXPLAINED_BYTES, labels)
    return graph(
        "Unexplained",
        "The kernel's count less what was found. What comes and goes was in flight while the census was "
        "taken; what stays is a wrong count: kmemtrace audit judges.",
        "bytes",
        Query(f"{metric} and on (instance, cgroup) topk(10, abs({metric}))", legend),
        signed=True,
        empty=ONLY_CENSUS,
    )


def lost_pages(labels: str, legend: str) -> Panel:
    return graph(
        "Lost pages",
        "Freed and never uncharged, since the tracer started: they stay on the cgroup's counter for good.",
        "short",
        Query(f"sum by (cgroup, class, confidence) ({of(Metric.LOST_PAGES, labels)}) > 0", legend),
        empty="None found",
    )


def of_host() -> list[Panel]:
    return [
        graph(
            "Kernel memory, by cgroup",
            "The kernel's own count, without the children's, of the ten cgroups with most.",
            "bytes",
            Query(f"topk(10, sum by (cgroup) ({of(Metric.KERNEL_BYTES)}))", "{{cgroup}}"),
            stack=True,
            empty=ONLY_CENSUS,
        ),
        by_part(HOST),
        graph(
            "Slab objects, by cache",
            "The ten caches with most.",
            "bytes",
            Query(f"topk(10, {of(Metric.SLAB_BYTES)})", "{{cache}}"),
            stack=True,
            empty=ONLY_CENSUS,
        ),
        unexplained(HOST, "{{cgroup}}"),
        graph(
            "Removed cgroups that the kernel still has",
            "Whatever keeps them; kmemtrace dead tells which, and why.",
            "short",
            Query(f"sum({of(Metric.DYING_CGROUPS)})", "removed cgroups"),
            empty=ONLY_CENSUS,
        ),
        graph(
            "What keeps them",
            "Memory that is charged to them still: page cache (file), shared and anonymous, kernel memory.",
            "bytes",
            Query(f"sum by (part) ({of(Metric.PINNED_BYTES)})", "{{part}}"),
            stack=True,
            empty=ONLY_CENSUS,
        ),
        lost_pages(HOST, "{{cgroup}} {{class}} {{confidence}}"),
    ]
