"""The tracer itself: what it sees, what it misses, what it costs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.source.panels import HOST, Column, Panel, Query, add, board, graph, listing, of, rate
from kmemtrace.model.metrics import Metric


def health() -> Dashboard:
    made = board("health", "Tracer health", "What the tracer sees, misses and costs on one host.")
    return add(made, *_seen(), *_missed(), *_of_programs(), *_of_readings())


def _seen() -> list[Panel]:
    """Which hook shows an event, and what none shows."""
    return [
        listing(
            "How each event is seen",
            "The hook of each event, as `kmemtrace check` shows it.",
            ("event", "hook", "mechanism"),
            Column("", "short", of(Metric.HOOK_INFO)),
        ).span(12),
        listing(
            "What is not seen",
            "By this kernel or tier, and why.",
            ("what", "reason"),
            Column("", "short", of(Metric.UNSEEN_INFO)),
            empty="All is seen",
        ).span(12),
    ]


def _missed() -> list[Panel]:
    """Events that were not seen, what became of them, and what is legal after all."""
    return [
        graph(
            "Events missed",
            "A second, by program or map and reason.",
            "short",
            Query(
                f"sum by (program, reason) ({rate(Metric.MISSED_EVENTS)}) > 0",
                "{{program}} {{reason}}",
            ),
            empty="None missed",
        ),
        graph(
            "Pages mended",
            "A second: their end was missed and noticed later.",
            "short",
            Query(f"sum by (how) ({rate(Metric.MENDED_PAGES)})", "{{how}}"),
        ),
        graph(
            "Room taken in maps",
            "Where all is taken: pages, --max-pages; others, scrape more often, or trace one --cgroup.",
            "percentunit",
            Query(f"{of(Metric.MAP_ENTRIES)} / {of(Metric.MAP_CAPACITY)}", "{{map}}"),
        ),
        graph(
            "Exempt",
            "What looked like a mismatch and is legal, a second, by the reason.",
            "short",
            Query(f"sum by (reason) ({rate(Metric.EXEMPT)})", "{{reason}}"),
            empty="Nothing looked like a mismatch",
        ),
    ]


def _of_programs() -> list[Panel]:
    """What each event costs."""
    return [
        graph(
            "A run of a program takes",
            "The mean, by BPF program.",
            "s",
            Query(
                f"{rate(Metric.PROGRAM_RUN_SECONDS)} / ({rate(Metric.PROGRAM_RUNS)} > 0)",
                "{{program}}",
            ),
            empty="Not counted: the exporter runs without --program-stats",
        ),
        graph(
            "CPU time of the programs",
            "Seconds a second, all CPUs together.",
            "s",
            Query(
                f"sum by (program) ({rate(Metric.PROGRAM_RUN_SECONDS)})",
                "{{program}}",
            ),
            stack=True,
            empty="Not counted: the exporter runs without --program-stats",
        ),
    ]


def _of_readings() -> list[Panel]:
    """What our own process costs."""
    return [
        graph(
            "A reading of the maps takes",
            "The mean.",
            "s",
            Query(
                f"{rate(Metric.READING_SECONDS)} / {rate(Metric.READINGS)}",
                "{{instance}}",
            ),
        ),
        graph(
            "A census takes",
            "The last one, by the clock.",
            "s",
            Query(of(Metric.CENSUS_SECONDS), "{{instance}}"),
            empty="None is taken: the table above tells why (account)",
        ),
        graph(
            "The exporter's process",
            "Resident memory, the compiler's own part of it included, and the maps, which are kernel memory.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{HOST}}}", "resident"),
            Query(of(Metric.OWN_MAP_BYTES), "maps"),
        ),
    ]
