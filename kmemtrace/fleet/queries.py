"""What a Prometheus server is asked for."""

from kmemtrace.fleet import accounts
from kmemtrace.model.metrics import Metric

MOST_CGROUPS = 2000
"""Those that hold most, of all hosts; more is nothing that anybody reads on a screen."""


def _any_of(*metrics: Metric) -> str:
    return f'{{__name__=~"{"|".join(map(str, metrics))}"}}'


HOSTS = _any_of(
    *accounts.HOST_METRICS,
    Metric.BUILD_INFO,
    Metric.PAGE_SIZE_BYTES,
    Metric.PREEXISTING_PAGES,
    Metric.OWN_MAP_BYTES,
    Metric.MAP_ENTRIES,
    Metric.MAP_CAPACITY,
    Metric.MISSED_EVENTS,
    Metric.MENDED_PAGES,
    Metric.UNKNOWN_STACKS,
    Metric.MISMATCHES,
    Metric.LOST_PAGES,
    Metric.UNSEEN_INFO,
)

_HOLD = _any_of(Metric.HELD_BYTES, Metric.KERNEL_BYTES)
"""By the kernel's count, where there is a census, and what was charged since the start."""
_THOSE = f"and on (instance, cgroup) topk({MOST_CGROUPS}, sum by (instance, cgroup) ({_HOLD}))"
HELD = f"{Metric.HELD_BYTES} {_THOSE}"
COUNTS = (
    Metric.CHARGED_PAGES,
    Metric.FAILED_CHARGES,
    Metric.RECLAIM_STALLS,
    Metric.RECLAIM_STALL_SECONDS,
)
COUNTED = f"{_any_of(*accounts.CGROUP_METRICS, *COUNTS)} {_THOSE}"
