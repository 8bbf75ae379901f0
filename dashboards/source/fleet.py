"""All hosts side by side."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.source.panels import (
    ONLY_CENSUS,
    ONLY_FUNCTIONS,
    Column,
    Panel,
    Query,
    add,
    board,
    certain,
    graph,
    listing,
    number,
    of,
    rate,
    recorded,
)
from kmemtrace.model.metrics import Metric

LINK = "/d/kmemtrace-overview?${__url_time_range}&var-instance=${__value.raw}"


def fleet() -> Dashboard:
    made = board("fleet", "Fleet", "All hosts: where to look first.", many=True)
    made = add(made, *_numbers(), _hosts())
    return add(made.with_row(Row("Side by side")), *_charges(), *_what_stays())


def _numbers() -> list[Panel]:
    return [
        number("Hosts", "That answer.", "short", Query(f"count({of(Metric.BUILD_INFO)})")).span(8),
        number(
            "Hosts with a certain mismatch",
            "Since their tracers started.",
            "short",
            Query(
                f"count(sum by (instance) ({recorded(Metric.MISMATCHES, 'sum', certain())}) > 0) or vector(0)"
            ),
            bad_from=1,
        ).span(8),
        number(
            "Held by removed cgroups",
            "On all hosts.",
            "bytes",
            Query(f"sum({of(Metric.DEAD_CGROUP_HELD_BYTES)})"),
        ).span(8),
    ]


def _hosts() -> Panel:
    return listing(
        "Hosts",
        "A click on one shows it alone.",
        ("kernel", "tier", "instance"),
        Column(
            "held",
            "bytes",
            f"{recorded(Metric.HELD_BYTES, 'sum')} * on (job, instance) group_left (kernel, tier) "
            f"{of(Metric.BUILD_INFO)}",
        ),
        link=LINK,
    )


def _charges() -> list[Panel]:
    """The hosts that stand out by what they are charged."""
    return [
        graph(
            "Held",
            "The ten hosts that hold most.",
            "bytes",
            Query(f"topk(10, {recorded(Metric.HELD_BYTES, 'sum')})", "{{instance}}"),
        ),
        graph(
            "Charged",
            "Base pages a second, of the ten hosts that are charged most.",
            "short",
            Query(f"topk(10, {recorded(Metric.CHARGED_PAGES, 'rate5m')})", "{{instance}}"),
        ),
        graph(
            "One charge in a hundred takes at least",
            "The ten slowest hosts.",
            "s",
            Query(f"topk(10, {recorded(Metric.CHARGE_LATENCY_SECONDS, 'p99_5m')})", "{{instance}}"),
            empty=ONLY_FUNCTIONS,
        ),
        graph(
            "Failed charges",
            "A second, of the ten hosts with most.",
            "short",
            Query(
                f"topk(10, sum by (instance) ({rate(Metric.FAILED_CHARGES)}))",
                "{{instance}}",
            ),
        ),
    ]


def _what_stays() -> list[Panel]:
    """The hosts that stand out by what does not come back."""
    return [
        graph(
            "Held by removed cgroups",
            "The ten hosts with most.",
            "bytes",
            Query(f"topk(10, {of(Metric.DEAD_CGROUP_HELD_BYTES)})", "{{instance}}"),
        ),
        graph(
            "Kept by removed cgroups",
            "Page cache and all else that is charged to them still, of the ten hosts with most.",
            "bytes",
            Query(f"topk(10, {recorded(Metric.PINNED_BYTES, 'sum')})", "{{instance}}"),
            empty=ONLY_CENSUS,
        ),
        graph(
            "Mismatches found",
            "In five minutes, by host and class, certain and suspect. A line at 0 is a class that is judged.",
            "short",
            Query(
                f"increase({recorded(Metric.MISMATCHES, 'sum')}[5m])",
                "{{instance}} {{class}} {{confidence}}",
            ),
        ),
    ]
