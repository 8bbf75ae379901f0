"""The metrics: names, help texts and labels. docs/metrics.md lists them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kmemtrace import __version__
from kmemtrace.cgroups.labels import Names, names
from kmemtrace.exporter.label import label_of
from kmemtrace.exporter.latencies import latencies
from kmemtrace.exporter.memory import memory
from kmemtrace.exporter.series import OTHER, Counted, Series, bytes_of
from kmemtrace.model.enums import CgroupState, Confidence, MismatchClass
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.unseen import Unseen


@dataclass(frozen=True, slots=True)
class HookInfo:
    event: str
    hook: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class ProgramRuns:
    program: str
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """What a scrape tells."""

    snapshot: Snapshot
    counted: Counted
    hooks: tuple[HookInfo, ...]
    runs: tuple[ProgramRuns, ...] | None
    """None where the kernel does not count them (kernel.bpf_stats_enabled)."""
    most_cgroups: int
    most_bytes: int
    """How many cgroups may have series of their own, and how many bytes these may take; so of mismatches."""
    readings: int
    reading_seconds: float
    """Time that all readings of the maps took together."""


def families(told: Told) -> Iterator[Metric]:
    yield from _of_cgroups(told)
    if told.snapshot.census is not None:
        yield from memory(told.snapshot.census, told.counted.series)
    yield from _mismatches(told)
    yield from latencies(told.counted.latency, told.snapshot.allocations)
    yield from _of_machine(told.snapshot)
    yield from _of_losses(told.snapshot)
    yield from _of_itself(told)


def _of_cgroups(told: Told) -> Iterator[Metric]:
    series, unseen = told.counted.series, told.snapshot.unseen
    yield _counter(
        "charged_pages", "Base pages charged as kernel memory.", [(s, s.sums.charged_pages) for s in series]
    )
    yield _counter(
        "uncharged_pages", "Base pages whose charge ended.", [(s, s.sums.uncharged_pages) for s in series]
    )
    yield _counter(
        "failed_charges",
        "Accounted allocations that were refused at a limit.",
        [(s, s.sums.failed_charges) for s in series],
    )
    if Unseen.RECLAIM_BEGIN not in unseen:
        yield _counter(
            "reclaim_stall_seconds",
            "Time that tasks had to free memory of a cgroup at its limit, for a charge of any kind.",
            [(s, s.sums.reclaim_stall_seconds) for s in series],
        )
        yield _counter(
            "reclaim_stalls", "Times that they had to.", [(s, s.sums.reclaim_stalls) for s in series]
        )
    if Unseen.CHARGE not in unseen:
        yield _counter("charges", "Charges that were timed.", [(s, s.sums.charges) for s in series])
        yield _counter(
            "charge_seconds", "Time that these took.", [(s, s.sums.charge_seconds) for s in series]
        )
    held = GaugeMetricFamily(
        "kmemtrace_held_bytes",
        "Kernel memory that is charged in whole pages: neither uncharged nor lost.",
        labels=("cgroup", "state"),
    )
    info = GaugeMetricFamily(
        "kmemtrace_cgroup_info",
        "What a cgroup's path says of who lives there; 1.",
        labels=("cgroup", "pod", "runtime", "container", "unit"),
    )
    for one in series:
        for state, pages in sorted(one.held_pages.items()):
            held.add_metric((one.cgroup, state.value), pages * told.snapshot.page_size)
        who = names(one.path)
        if who != Names():
            info.add_metric((one.cgroup, who.pod, who.runtime, who.container, who.unit), 1)
    yield from (held, info)


def _counter(name: str, text: str, values: Iterable[tuple[Series, float]]) -> Metric:
    family = CounterMetricFamily(f"kmemtrace_{name}", text, labels=("cgroup",))
    for series, value in values:
        family.add_metric((series.cgroup,), value)
    return family


def _mismatches(told: Told) -> Iterator[Metric]:
    """A class that can be judged is there with 0 before it is ever found, so that its first finding is
    an increase. Those of a cgroup keep their series: an alert needs them longer than the cgroup lives."""
    snapshot = told.snapshot
    counts: dict[tuple[str, MismatchClass, Confidence], tuple[int, int]] = {
        (OTHER, one, confidence): (0, 0)
        for one in MismatchClass
        if Unseen(one) not in snapshot.unseen
        for confidence in Confidence
    }
    labels: set[str] = set()
    room = told.most_bytes
    for found in sorted(snapshot.mismatches, key=lambda m: m.first_time):
        path = found.charged_to or found.uncharged_from or OTHER
        label = label_of(path)
        if path != OTHER and label not in labels:
            room -= bytes_of(label, path)
            if len(labels) < told.most_cgroups and room >= 0:
                labels.add(label)
        key = (label if label in labels else OTHER, found.mismatch_class, found.confidence)
        count, pages = counts.get(key, (0, 0))
        counts[key] = (count + found.count, pages + found.lost_pages)
    broken = "Charges and uncharges that broke the promise, by the cgroup that was charged."
    lost = "Base pages that they left on that cgroup's counter for good."
    for at, (name, text) in enumerate((("mismatches", broken), ("lost_pages", lost))):
        family = CounterMetricFamily(f"kmemtrace_{name}", text, labels=("cgroup", "class", "confidence"))
        for key, values in counts.items():
            family.add_metric(key, values[at])
        yield family


def _of_machine(snapshot: Snapshot) -> Iterator[Metric]:
    kinds: dict[str, int] = defaultdict(int)
    for cgroup in snapshot.cgroups:
        for site in cgroup.sites:
            kinds[site.kind.value] += site.held_pages
    yield _gauges(
        "site_held_bytes",
        "Of the memory held, by what asked for it.",
        "kind",
        {kind: pages * snapshot.page_size for kind, pages in kinds.items()},
    )
    dead = [c for c in snapshot.cgroups if c.state is CgroupState.DEAD and c.held_pages]
    yield _gauge("dead_cgroups", "Removed cgroups that still hold pages.", len(dead))
    held = sum(c.held_pages for c in dead) * snapshot.page_size
    yield _gauge("dead_cgroup_held_bytes", "Kernel memory that they hold.", held)
    charged = sum(bool(c.charged_pages or c.failed_charges) for c in snapshot.cgroups)
    yield _gauge("cgroups", "Cgroups that were charged since the start.", charged)
    if snapshot.preexisting_pages is not None:
        yield _gauge(
            "preexisting_pages",
            "Base pages that were charged before the start, and are followed since.",
            snapshot.preexisting_pages,
        )
    yield _gauges(
        "unjudged_seconds",
        "For how long from the start mismatches of a class could not be told, though later they can.",
        "class",
        {str(one): seconds for one, seconds in snapshot.unjudged_seconds.items()},
    )
    exempt = CounterMetricFamily(
        "kmemtrace_exempt", "What looked like a mismatch and is legal, by the reason.", labels=("reason",)
    )
    for reason, count in snapshot.exempt.items():
        exempt.add_metric((reason.replace(" ", "_"),), count)
    yield exempt


def _of_losses(snapshot: Snapshot) -> Iterator[Metric]:
    losses = snapshot.losses
    missed = CounterMetricFamily(
        "kmemtrace_missed_events",
        "Events that were not seen: the program was running on that CPU already (recursion), or there was "
        "no room for what it had to keep (full), or its map was locked (busy), or the begin of a charge was "
        "missed (unpaired).",
        labels=("program", "reason"),
    )
    for program, count in (losses.recursion_misses or {}).items():
        missed.add_metric((program, "recursion"), count)
    for name, count in losses.map_full.items():
        missed.add_metric((name, "full"), count)
    missed.add_metric(("findings", "full"), losses.ring_drops)
    missed.add_metric(("charge_exit", "unpaired"), losses.unpaired)
    missed.add_metric(("pages", "busy"), losses.pages_busy)
    yield missed
    mended = CounterMetricFamily(
        "kmemtrace_mended_pages",
        "Pages whose end was missed and noticed later: handed out again (healed), or found without their "
        "mark (swept).",
        labels=("how",),
    )
    mended.add_metric(("healed",), losses.healed)
    mended.add_metric(("swept",), losses.swept)
    yield mended
    yield CounterMetricFamily(
        "kmemtrace_unknown_stacks",
        "Stacks that were not recorded: what they would have told of is counted, its call site is (unknown).",
        losses.unknown_stacks,
    )


def _of_itself(told: Told) -> Iterator[Metric]:
    snapshot = told.snapshot
    yield _gauges(
        "map_entries", "Entries in a BPF map.", "map", {n: m.entries for n, m in snapshot.maps.items()}
    )
    yield _gauges(
        "map_capacity", "Room for entries.", "map", {n: m.capacity for n, m in snapshot.maps.items()}
    )
    yield _gauge("page_size_bytes", "Of a base page.", snapshot.page_size)
    if snapshot.own_bytes is not None:
        yield _gauge("own_map_bytes", "Kernel memory of the tracer's own maps.", snapshot.own_bytes)
    if told.runs is not None:
        runs = CounterMetricFamily(
            "kmemtrace_program_runs", "Runs of a BPF program that the kernel counted.", labels=("program",)
        )
        seconds = CounterMetricFamily(
            "kmemtrace_program_run_seconds", "Time that these took.", labels=("program",)
        )
        for one in told.runs:
            runs.add_metric((one.program,), one.runs)
            seconds.add_metric((one.program,), one.seconds)
        yield from (runs, seconds)
    yield CounterMetricFamily("kmemtrace_readings", "Readings of the maps.", told.readings)
    yield CounterMetricFamily("kmemtrace_reading_seconds", "Time that these took.", told.reading_seconds)
    hooks = GaugeMetricFamily(
        "kmemtrace_hook_info", "How each event is seen; 1.", labels=("event", "hook", "mechanism")
    )
    for hook in told.hooks:
        hooks.add_metric((hook.event, hook.hook, hook.mechanism), 1)
    yield hooks
    unseen = GaugeMetricFamily(
        "kmemtrace_unseen_info", "What this kernel or tier cannot show; 1.", labels=("what", "reason")
    )
    for what, reason in snapshot.unseen.items():
        unseen.add_metric((what, reason), 1)
    yield unseen
    build = GaugeMetricFamily("kmemtrace_build_info", "The tracer; 1.", labels=("version", "tier", "kernel"))
    build.add_metric((__version__, snapshot.tier.value, snapshot.kernel), 1)
    yield build


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"kmemtrace_{name}", text, value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"kmemtrace_{name}", text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
