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
    of,
    rate,
)
from kmemtrace.model.metrics import Metric

ONE = f'{HOST},cgroup="$cgroup"'


def cgroup() -> Dashboard:
    made = board("cgroup", "Cgroup", "One cgroup: what it is charged, holds, is refused and waits for.")
    made = made.with_variable(
        choice(
            "cgroup",
            "Cgroup",
            f"label_values({of(Metric.CHARGED_PAGES)}, cgroup)",
        )
    )
    return add(made, *_numbers(), *_held(), *_charges(), _who())


def _numbers() -> list[Panel]:
    return [
        number("Held", "Not yet uncharged.", "bytes", Query(f"sum({of(Metric.HELD_BYTES, ONE)})")),
        number(
            "Failed charges",
            "Since its series began.",
            "short",
            Query(f"sum({of(Metric.FAILED_CHARGES, ONE)})"),
            bad_from=1,
        ),
        number(
            "Mismatches",
            "Of this cgroup, certain and suspect.",
            "short",
            Query(f"sum({of(Metric.MISMATCHES, ONE)})"),
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
            Query(of(Metric.HELD_BYTES, ONE), "{{state}}"),
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
            Query(f"sum({rate(Metric.CHARGED_PAGES, ONE)})", "charged"),
            Query(f"sum({rate(Metric.UNCHARGED_PAGES, ONE)})", "uncharged"),
        ),
        graph(
            "Time in reclaim",
            "Seconds a second that its tasks had to free memory before they were charged; more than 1: more "
            "than one task at a time.",
            "s",
            Query(f"sum({rate(Metric.RECLAIM_STALL_SECONDS, ONE)})", "stalled"),
            empty="This kernel has no hook for it",
        ),
        graph(
            "A charge takes",
            "The mean; the machine's histogram is on the dashboard Overview.",
            "s",
            Query(
                f"sum({rate(Metric.CHARGE_SECONDS, ONE)}) / (sum({rate(Metric.CHARGES, ONE)}) > 0)",
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
        Column("", "short", of(Metric.CGROUP_INFO, ONE)),
        empty="Its path tells nothing of a pod, container or unit",
    ).height(5)
