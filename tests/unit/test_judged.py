"""Which classes are judged where, and what is said of the others."""

import dataclasses

import pytest

from kmemtrace.kernel.planning import make_plan
from kmemtrace.model.enums import MismatchClass, Tier
from tests.unit.recorded import ARM64, KERNELS, PAGE_PATH, Recorded

C = MismatchClass
FRAMES = 1 << 20
FUNCTIONS = {C.LOST_UNCHARGE, C.STRAY_UNCHARGE, C.SIZE_MISMATCH}


def unjudged(kernel: Recorded, tier: Tier = Tier.FENTRY, frames: int = FRAMES) -> dict[C, str]:
    return dict(make_plan(kernel, tier, page_frames=frames).unjudged)


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12", "6.18", "7.2", "7.3"])
def test_by_function_probes_all_but_the_counters_drift(kernel: str) -> None:
    assert unjudged(KERNELS[kernel]).keys() == {C.COUNTER_DRIFT}
    assert unjudged(KERNELS[kernel], Tier.TRACEPOINT).keys() == {C.COUNTER_DRIFT, *FUNCTIONS}


def test_where_the_symbol_table_is_short() -> None:
    """An interrupt's allocation is known by its stack only where held-off softirqs do not matter."""
    short = dataclasses.replace(KERNELS["6.1"], symbols={})
    assert "preempt_count" in unjudged(short)[C.UNCHARGED_ALLOC]
    assert C.UNCHARGED_ALLOC not in unjudged(dataclasses.replace(KERNELS["6.18"], symbols={}))


@pytest.mark.parametrize(
    ("changes", "frames", "found"),
    [
        ({}, 1 << 24, True),
        ({}, 1 << 26, False),  # struct pages beyond what their start is aligned to
        ({"machine": "aarch64"}, FRAMES, False),
        ({"machine": "aarch64", "fields": {**KERNELS["6.18"].fields, **PAGE_PATH}}, 1 << 26, True),
        ({"fields": {**KERNELS["6.18"].fields, **PAGE_PATH}}, 1 << 26, True),
        ({"symbols": {"vmemmap_base": 1}}, 1 << 26, True),
    ],
)
def test_stray_uncharges_need_the_struct_pages(changes: dict[str, object], frames: int, found: bool) -> None:
    kernel = dataclasses.replace(KERNELS["6.18"], symbols={}, fields=dict(KERNELS["6.18"].fields))
    kernel = dataclasses.replace(kernel, **changes)  # type: ignore[arg-type]
    fields = {**kernel.fields, ("task_struct", "stack_vm_area"): 1, ("vm_struct", "pages"): 2}
    kernel = dataclasses.replace(kernel, fields=fields)
    assert (C.STRAY_UNCHARGE not in unjudged(kernel, frames=frames)) == found


def test_without_the_whole_put_path_no_uncharge_is_lost() -> None:
    functions = dict(KERNELS["6.12"].functions)
    del functions["__mem_cgroup_uncharge_folios"]
    why = unjudged(dataclasses.replace(KERNELS["6.12"], functions=functions))
    assert "put path" in why[C.LOST_UNCHARGE]
    assert C.WRONG_CGROUP not in why


@pytest.mark.parametrize("kernel", ARM64)
def test_on_arm64_an_interrupt_is_known_by_the_tasks_own_count(kernel: str) -> None:
    """Though no symbol tells where that of a CPU is."""
    plan = make_plan(ARM64[kernel], page_frames=FRAMES)
    assert plan.unjudged.keys() == {C.COUNTER_DRIFT}
    assert plan.defines["OFF_TASK_PREEMPT_COUNT"] == 8
    assert "PREEMPT_COUNT_AT" not in plan.defines
