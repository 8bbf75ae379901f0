"""One cgroup of one host."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.source.account import by_part, lost_pages, unexplained
from dashboards.source.panels import (
    HOST,
    ONLY_FUNCTIONS,
    Column,
    Panel,
    Query,
    add,
    board,
    choice,
    graph,
    listing,
    number,
    rate,
)

ONE = f'{HOST},cgroup="$cgroup"'


def cgroup() -> Dashboard:
    made = board("cgroup", "Cgroup", "One cgroup: what it is charged, holds, is refused and waits for.")
    made = made.with_variable(
        choice(
            "cgroup",
            "Cgroup",
            'label_values(kmemtrace_charged_pages_total{job=~"$job",instance=~"$instance"}, cgroup)',
        )
    )
    return add(made, *_numbers(), *_held(), *_charges(), _who())


def _numbers() -> list[Panel]:
    return [
        number("Held", "Not yet uncharged.", "bytes", Query(f"sum(kmemtrace_held_bytes{{{ONE}}})")),
        number(
            "Failed charges",
            "Since its series began.",
            "short",
            Query(f"sum(kmemtrace_failed_charges_total{{{ONE}}})"),
            bad_from=1,
        ),
        number(
            "Mismatches",
            "Of this cgroup, certain and suspect.",
            "short",
            Query(f"sum(kmemtrace_mismatches_total{{{ONE}}})"),
            bad_from=1,
            empty="None found",
        ),
    ]


def _held() -> list[Panel]:
    """What it holds, and what that is made of."""
    return [
        graph(
            "Held",
            "By whether the cgroup is there or removed: one made anew under its name shares its series.",
            "bytes",
            Query(f"kmemtrace_held_bytes{{{ONE}}}", "{{state}}"),
            stack=True,
        ),
        by_part(ONE),
        unexplained(ONE, "unexplained"),
        lost_pages(ONE, "{{class}} {{confidence}}"),
    ]


def _charges() -> list[Panel]:
    """What comes and goes, and how long that takes."""
    return [
        graph(
            "Charged and uncharged",
            "Base pages a second.",
            "short",
            Query(f"sum({rate('charged_pages_total', ONE)})", "charged"),
            Query(f"sum({rate('uncharged_pages_total', ONE)})", "uncharged"),
        ),
        graph(
            "Time in reclaim",
            "Seconds a second that its tasks had to free memory before they were charged; more than 1: more "
            "than one task at a time.",
            "s",
            Query(f"sum({rate('reclaim_stall_seconds_total', ONE)})", "stalled"),
            empty="This kernel has no hook for it",
        ),
        graph(
            "A charge takes",
            "The mean; the machine's histogram is on the dashboard Overview.",
            "s",
            Query(
                f"sum({rate('charge_seconds_total', ONE)}) / (sum({rate('charges_total', ONE)}) > 0)",
                "mean",
            ),
            empty=ONLY_FUNCTIONS,
        ),
    ]


def _who() -> Panel:
    return listing(
        "Who lives there",
        "As far as its path tells.",
        ("pod", "runtime", "container", "unit"),
        Column("", "short", f"kmemtrace_cgroup_info{{{ONE}}}"),
        empty="Its path tells nothing of a pod, container or unit",
    ).height(5)
