"""One host: what is charged, who holds it, and whether it comes back."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.source.account import of_host
from dashboards.source.panels import (
    ONLY_FUNCTIONS,
    Column,
    Panel,
    Query,
    add,
    board,
    certain,
    graph,
    heat,
    listing,
    number,
    of,
    rate,
)
from kmemtrace.model.metrics import Metric

CGROUP_LINK = "/d/kmemtrace-cgroup?${__url_time_range}&var-instance=${instance}&var-cgroup=${__value.raw}"


def overview() -> Dashboard:
    made = board("overview", "Overview", "Whose kernel memory it is on one host, and whether it comes back.")
    made = add(made, *_numbers())
    made = add(made.with_row(Row("Whose it is")), *_held(), *_balance(), _cgroups())
    made = add(made.with_row(Row("What it is made of")), *of_host())
    return add(made.with_row(Row("How long it takes")), *_times())


def _numbers() -> list[Panel]:
    return [
        number(
            "Held",
            "Kernel memory charged since the tracer started and not yet uncharged.",
            "bytes",
            Query(f"sum({of(Metric.HELD_BYTES)})"),
        ),
        number(
            "Charged",
            "Base pages charged a second.",
            "short",
            Query(f"sum({rate(Metric.CHARGED_PAGES)})"),
        ),
        number(
            "Certain mismatches",
            "Charges and uncharges that broke the promise, and that no missed event explains: a bug of the "
            "kernel or of a module.",
            "short",
            Query(f"sum({of(Metric.MISMATCHES, certain())})"),
            bad_from=1,
        ),
        number(
            "Failed charges",
            "Accounted allocations refused at a limit, a second.",
            "short",
            Query(f"sum({rate(Metric.FAILED_CHARGES)})"),
            bad_from=0.1,
        ),
        number(
            "Held by removed cgroups",
            "Kernel memory of cgroups that are gone.",
            "bytes",
            Query(f"sum({of(Metric.DEAD_CGROUP_HELD_BYTES)})"),
        ),
        number(
            "Events missed",
            "A second; sums are mended, findings may be suspect.",
            "short",
            Query(f"sum({rate(Metric.MISSED_EVENTS)})"),
        ),
    ]


def _held() -> list[Panel]:
    return [
        graph(
            "Held, by cgroup",
            "The ten cgroups that hold most.",
            "bytes",
            Query(f"topk(10, sum by (cgroup) ({of(Metric.HELD_BYTES)}))", "{{cgroup}}"),
            stack=True,
        ),
        graph(
            "Held, by what asked for it",
            "From the first function outside the allocator.",
            "bytes",
            Query(f"sum by (kind) ({of(Metric.SITE_HELD_BYTES)})", "{{kind}}"),
            stack=True,
        ),
    ]


def _balance() -> list[Panel]:
    return [
        graph(
            "Charged and uncharged",
            "Base pages a second. They run side by side where what is charged comes back.",
            "short",
            Query(f"sum({rate(Metric.CHARGED_PAGES)})", "charged"),
            Query(f"sum({rate(Metric.UNCHARGED_PAGES)})", "uncharged"),
        ),
        graph(
            "Removed cgroups",
            "Those that still hold pages. A number that only grows is a leak of whole cgroups.",
            "short",
            Query(f"sum({of(Metric.DEAD_CGROUPS)})", "removed cgroups"),
        ),
    ]


def _cgroups() -> Panel:
    return listing(
        "Cgroups",
        "The fifty that hold most; a click on one shows it alone.",
        ("cgroup",),
        Column("held", "bytes", f"topk(50, sum by (cgroup) ({of(Metric.HELD_BYTES)}))"),
        Column(
            "charged/s",
            "short",
            f"sum by (cgroup) ({rate(Metric.CHARGED_PAGES)})",
        ),
        Column(
            "failed/s",
            "short",
            f"sum by (cgroup) ({rate(Metric.FAILED_CHARGES)})",
        ),
        link=CGROUP_LINK,
    )


def _times() -> list[Panel]:
    return [
        heat(
            "Charges",
            "How long charges took. A band that rises is a cgroup at its limit, freeing memory first.",
            f"sum by (le) ({rate(Metric.CHARGE_LATENCY_SECONDS)})",
            ONLY_FUNCTIONS,
        ),
        heat(
            "Lifetimes",
            "From the charge of a block of pages to its end.",
            f"sum by (le) ({rate(Metric.PAGE_LIFETIME_SECONDS)})",
        ),
    ]
