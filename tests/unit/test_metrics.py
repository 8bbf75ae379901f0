"""The metrics of a Snapshot: what is there, what is left out, and their buckets."""

import dataclasses
import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from kmemtrace.exporter.latencies import buckets
from kmemtrace.exporter.metrics import families
from kmemtrace.exporter.series import MOST_BYTES, OTHER, Selection
from kmemtrace.exporter.told import HookInfo, ProgramRuns, Told
from kmemtrace.model.enums import MismatchClass
from kmemtrace.model.histogram import Histogram
from kmemtrace.model.snapshot import Allocations, Snapshot
from kmemtrace.model.unseen import Unseen
from kmemtrace.tui.summary import lost_words
from tests.sample import CONTAINER, NGINX, busy, counted, mismatch

Sample = tuple[str, frozenset[tuple[str, str]]]


def told(snapshot: Snapshot, most: int = 10, runs: tuple[ProgramRuns, ...] | None = None) -> Told:
    hooks = (HookInfo("alloc", "mm_page_alloc", "raw tracepoint"),)
    return Told(snapshot, Selection(most).update(snapshot), hooks, runs, most, MOST_BYTES, 3, 0.5)


def everything() -> Told:
    """Of a tier that sees all, asked for all."""
    charged = [
        dataclasses.replace(c, latency={**c.latency, "charge": Histogram.of([900])})
        for c in counted().cgroups
    ]
    allocations = (Allocations(False, 0, Histogram.of([300])),)
    unseen = {Unseen.COUNTER_DRIFT: "verify only"}
    snapshot = dataclasses.replace(
        counted(),
        cgroups=tuple(charged),
        allocations=allocations,
        unseen=unseen,
        unjudged_seconds={MismatchClass.LOST_UNCHARGE: 0.5},
        mismatches=(mismatch(),),
    )
    return told(snapshot, runs=(ProgramRuns("page_alloc", 17, 0.25),))


def samples(of: Told) -> dict[Sample, float]:
    """What a scraper reads, through both the text format and its parser."""

    class Fixed(Collector):
        def collect(self):  # type: ignore[no-untyped-def]
            return list(families(of))

    registry = CollectorRegistry()
    registry.register(Fixed())
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(of: dict[Sample, float], name: str, **labels: str) -> float:
    return of[f"kmemtrace_{name}", frozenset((k.removesuffix("_"), v) for k, v in labels.items())]


def test_of_cgroups() -> None:
    found = samples(told(busy()))
    assert value(found, "charged_pages_total", cgroup=CONTAINER) == 40_311
    assert value(found, "uncharged_pages_total", cgroup=CONTAINER) == 38_800
    assert value(found, "failed_charges_total", cgroup=CONTAINER) == 3
    assert value(found, "held_bytes", cgroup="/batch/job-17", state="dead") == 1009 * 4096
    assert value(found, "dead_cgroups") == 1
    assert value(found, "dead_cgroup_held_bytes") == 1009 * 4096
    assert value(found, "site_held_bytes", kind="page_table") == 311 * 4096


def test_of_who_lives_there() -> None:
    found = samples(told(busy()))
    uid, container = "8a7f2c31-4c1e-4a77-9d0b-5a0c2f1e77aa", f"{'4f2a9c1b03de' * 5}4f2a"
    labels = {"cgroup": CONTAINER, "pod": uid, "runtime": "containerd", "container": container}
    assert value(found, "cgroup_info", **labels, unit=f"cri-containerd-{container}.scope") == 1
    nothing = {"pod": "", "runtime": "", "container": ""}
    assert value(found, "cgroup_info", cgroup=NGINX, unit="nginx.service", **nothing) == 1
    told_of = {dict(labels)["cgroup"] for name, labels in found if name == "kmemtrace_cgroup_info"}
    assert told_of == {CONTAINER, NGINX}, "of those whose path tells nothing there is no series"


def test_what_cannot_be_seen_is_left_out() -> None:
    """The sample is of a tier that sees no charges, and judges no lost uncharges."""
    names = {name for name, _ in samples(told(busy()))}
    assert not names & {"kmemtrace_charge_seconds_total", "kmemtrace_charge_latency_seconds_count"}
    assert not names & {"kmemtrace_alloc_latency_seconds_count", "kmemtrace_program_runs_total"}
    assert "kmemtrace_page_lifetime_seconds_count" in names
    blind = dataclasses.replace(busy(), unseen={Unseen(one): "not judged" for one in MismatchClass})
    assert "kmemtrace_mismatches_total" not in {name for name, _ in samples(told(blind))}


def test_until_when_a_class_was_not_judged_is_told() -> None:
    found = samples(told(dataclasses.replace(busy(), unjudged_seconds={MismatchClass.STRAY_UNCHARGE: 15.25})))
    assert value(found, "unjudged_seconds", class_="stray_uncharge") == 15.25


def test_a_judged_class_is_there_before_it_is_found() -> None:
    found = samples(told(busy()))
    assert value(found, "mismatches_total", cgroup=OTHER, class_="wrong_cgroup", confidence="certain") == 0
    assert not any(("class", "lost_uncharge") in labels for _, labels in found)


def test_mismatches_by_cgroup_are_bounded() -> None:
    """The first cgroups that had one keep their series."""
    snapshot = dataclasses.replace(
        busy(),
        mismatches=(
            mismatch(charged_to="/late", first_time=30.0),
            mismatch(charged_to="/early", first_time=10.0),
            mismatch(charged_to="/early", first_time=20.0, confidence="suspect", count=1),
            mismatch(charged_to=None, uncharged_from=None, first_time=1.0, count=5),
        ),
    )
    found = samples(told(snapshot, most=1))

    def of(cgroup: str, confidence: str = "certain") -> float:
        return value(found, "mismatches_total", cgroup=cgroup, class_="wrong_cgroup", confidence=confidence)

    assert (of("/early"), of("/early", "suspect"), of(OTHER)) == (3, 1, 8)
    lost = {"cgroup": OTHER, "class_": "wrong_cgroup", "confidence": "certain"}
    assert value(found, "lost_pages_total", **lost) == 3 + 3


def test_of_itself() -> None:
    found = samples(told(busy(), runs=(ProgramRuns("page_alloc", 17, 0.25),)))
    assert value(found, "program_runs_total", program="page_alloc") == 17
    assert value(found, "program_run_seconds_total", program="page_alloc") == 0.25
    assert value(found, "missed_events_total", program="page_free", reason="recursion") == 800
    assert value(found, "unknown_stacks_total") == 2
    assert value(found, "map_capacity", map="pages") == 98304
    assert value(found, "mended_pages_total", how="swept") == 35
    assert value(found, "readings_total") == 3
    assert value(found, "hook_info", event="alloc", hook="mm_page_alloc", mechanism="raw tracepoint") == 1
    assert value(found, "unseen_info", what="charge", reason="function probes only") == 1


def test_missed_events_are_all_that_were_not_seen() -> None:
    """What is shown as missed is what the metrics add up to."""
    losses = dataclasses.replace(busy().losses, map_full={"pages": 3}, ring_drops=5, unpaired=7)
    found = samples(told(dataclasses.replace(busy(), losses=losses)))
    assert losses.missed_events == 17 + 800 + 3 + 5 + 7
    assert sum(v for (name, _), v in found.items() if name == "kmemtrace_missed_events_total") == 832
    assert lost_words(losses).startswith("missed 829  map full 3 (pages)  healed")


def test_alloc_latency_of_all_orders_together() -> None:
    allocations = tuple(Allocations(True, order, Histogram.of([2000] * 3)) for order in (0, 3))
    found = samples(told(dataclasses.replace(busy(), allocations=allocations)))
    assert value(found, "alloc_latency_seconds_count", accounted="true") == 6
    assert value(found, "alloc_latency_seconds_sum", accounted="true") == pytest.approx(12e-6)


@pytest.mark.parametrize(
    ("nanoseconds", "first_le"), [(0, 1.024e-6), (1024, 4.096e-6), (5000, 1.6384e-05), (1 << 50, math.inf)]
)
def test_buckets_are_cumulative(nanoseconds: int, first_le: float) -> None:
    found = [(float(le), count) for le, count in buckets(Histogram.of([nanoseconds]))]
    assert [count for _, count in found] == sorted(count for _, count in found)
    assert next(le for le, count in found if count) == first_le
    assert found[-1] == (math.inf, 1.0)
    assert len(found) == 17
