"""Each fault, in each tier: found, with its class, its cgroups and its stacks, and certain."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from kmemtrace.model.enums import Confidence, MismatchClass, Tier
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.tracer.tracer import Tracer
from tests.faults.faults import FAULTS, Fault, Scene

_ATTEMPTS = 3
_SETTLED_SECONDS = 2.5
"""An uncharged allocation is judged a moment later, when its task cannot be on its way between cgroups."""


def findings(tracer: Tracer, scene: Scene) -> list[Mismatch]:
    """Those of the scene's cgroups, whose names are this test's alone."""
    tracer.snapshot()
    time.sleep(_SETTLED_SECONDS)
    found = tracer.snapshot().mismatches
    return [m for m in found if scene.is_of(m.charged_to) or scene.is_of(m.uncharged_from)]


def count(found: list[Mismatch]) -> Counter[tuple[MismatchClass, Confidence]]:
    counts: Counter[tuple[MismatchClass, Confidence]] = Counter()
    for one in found:
        counts[one.mismatch_class, one.confidence] += one.count
    return counts


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.do.__name__)
def test_fault(
    tracer: Tracer,
    scenes: Callable[[], Scene],
    fault: Fault,
    record_property: Callable[[str, object], None],
) -> None:
    """Again where an event happened to be missed meanwhile, so that the finding is rightly a suspect."""
    expected = fault.without_functions if tracer.plan.tier is Tier.TRACEPOINT else fault.found
    for _ in range(_ATTEMPTS):
        scene = scenes()
        fault.do(scene)
        found = findings(tracer, scene)
        print(*found, tracer.snapshot().losses, tracer.snapshot().exempt, sep="\n")  # shown if it fails
        counts = count(found)
        by_class: Counter[MismatchClass] = Counter()
        for (mismatch_class, _confidence), times in counts.items():
            by_class[mismatch_class] += times
        assert by_class == expected
        suspects = [one for one in found if one.confidence is not Confidence.CERTAIN]
        assert all(one.missed_events for one in suspects)
        if all(confidence is Confidence.CERTAIN for _class, confidence in counts):
            break
    record_property("found", ", ".join(sorted(" ".join(key) for key in counts)))
    assert {confidence for _class, confidence in counts} <= {"certain"}
    costs = (fault.lost, fault.taken) if found else (0, 0)
    assert (sum(m.lost_pages for m in found), sum(m.taken_pages for m in found)) == costs
    lost = [c.lost_pages for c in tracer.snapshot().cgroups if scene.is_of(c.path)]
    assert sum(pages or 0 for pages in lost) == costs[0]
    assert (0 if tracer.plan.tier is Tier.TRACEPOINT else None) not in lost, "what is not seen is not 0"
    for one in found:
        assert one.events
        if one.mismatch_class is MismatchClass.SIZE_MISMATCH:
            assert (one.charged_pages, one.order) == (8, 3)
            assert one.ended_page is not None
            assert one.ended_pages is not None
            offset = (one.ended_page - one.page) // scene.kernel.page_size
            assert 0 <= offset <= 8 - one.ended_pages
            assert one.ended_pages < 8
        has_alloc = one.mismatch_class is not MismatchClass.STRAY_UNCHARGE
        has_free = one.mismatch_class is not MismatchClass.UNCHARGED_ALLOC
        assert bool(one.alloc_stack) == has_alloc, one
        assert bool(one.free_stack) == has_free, one
