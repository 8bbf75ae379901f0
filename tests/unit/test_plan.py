"""The Plan and the layout constants, from recorded facts."""

import dataclasses
from typing import Any

import pytest

from kmemtrace.errors import CannotError
from kmemtrace.kernel.hooks import Event, NoHook
from kmemtrace.kernel.layout import defines, gfp_account, page_mark, subtree_defines
from kmemtrace.kernel.plan import COSTS
from kmemtrace.kernel.planning import make_plan
from kmemtrace.model.enums import MismatchClass, Tier
from kmemtrace.model.unseen import Unseen
from tests.unit.recorded import ARM64, KERNELS, Recorded

WITH_BTF = ["5.10", "6.1", "6.12", "6.18", "7.2"]


def without_functions(kernel: str) -> Recorded:
    refusals = {Tier.FENTRY: "fentry is refused", Tier.KPROBE: "there are no kprobes"}
    return dataclasses.replace(KERNELS[kernel], refusals=refusals)


@pytest.mark.parametrize("kernel", WITH_BTF)
def test_tracepoint_tier_on_every_kernel_with_btf(kernel: str) -> None:
    plan = make_plan(without_functions(kernel))
    assert plan.tier is Tier.TRACEPOINT
    assert plan.refusal is None
    assert {"page_alloc", "page_free", "cgroup_rmdir", "reclaim_end"} <= plan.programs.keys()
    assert "memcg_state" not in plan.programs
    assert "thread stacks" in plan.unseen[Unseen.CHARGE]
    assert plan.unseen[Unseen.FUNCTIONS] == "fentry is refused and there are no kprobes"


@pytest.mark.parametrize("kernel", WITH_BTF)
@pytest.mark.parametrize("refused", [(), (Tier.FENTRY,)])
def test_the_best_tier_is_taken(kernel: str, refused: tuple[Tier, ...]) -> None:
    plan = make_plan(dataclasses.replace(KERNELS[kernel], refusals=dict.fromkeys(refused, "no")))
    assert plan.tier is (Tier.KPROBE if refused else Tier.FENTRY)
    kinds = ("kretprobe", "kprobe") if refused else ("fexit", "fentry")
    assert plan.attachments(Event.CHARGE) == list(kinds)
    assert plan.attachments(Event.UNCHARGE) == [kinds[1]]
    assert plan.defines["WITH_CHARGE"] == 1
    assert "alloc_exit" not in plan.programs


def test_a_forced_tier_is_taken_though_a_better_one_works() -> None:
    assert make_plan(KERNELS["6.1"], Tier.KPROBE).tier is Tier.KPROBE
    plan = make_plan(KERNELS["6.1"], Tier.TRACEPOINT)
    assert plan.tier is Tier.TRACEPOINT
    assert "--tier tracepoint" in plan.unseen[Unseen.FUNCTIONS]


@pytest.mark.parametrize("kernel", WITH_BTF)
def test_the_kernels_own_total_only_on_request(kernel: str) -> None:
    plan = make_plan(without_functions(kernel), kernel_total=True)
    has_tracepoint = kernel in ("6.18", "7.2")
    assert ("memcg_state" in plan.programs) == has_tracepoint
    unasked = make_plan(without_functions(kernel)).unseen[Unseen.KERNEL_TOTAL]
    assert ("--kernel-total" in unasked) == has_tracepoint


@pytest.mark.parametrize("tier", Tier)
def test_stacks_are_learned_where_programs_run_on_them(tier: Tier) -> None:
    plan = make_plan(KERNELS["6.18"], tier)
    assert (plan.walked, plan.defines["LEARNED_WALK"]) == (None, 1)


def test_elsewhere_the_kernel_walks_them() -> None:
    facts = without_functions("6.18")
    others = {
        "--walk-stacks": make_plan(facts, walks=True),
        "interrupt itself": make_plan(KERNELS["5.10"], Tier.FENTRY),
        "aarch64": make_plan(dataclasses.replace(facts, machine="aarch64")),
        "tell": make_plan(dataclasses.replace(facts, symbols={})),
        "place": make_plan(without_functions("7.2"), steady=True, page_frames=1 << 20),
    }
    for word, other in others.items():
        assert other.walked is not None
        assert word in other.walked
        assert "LEARNED_WALK" not in other.defines


@pytest.mark.parametrize(
    ("facts", "why", "loads", "loads_task"),
    [
        (KERNELS["6.12"], None, True, True),
        (KERNELS["6.1"], None, False, True),
        (KERNELS["5.10"], "5.12", False, False),
        (ARM64["6.12"], "on aarch64", True, True),
        (ARM64["6.1"], "on aarch64", False, True),
        (dataclasses.replace(ARM64["6.12"], release="6.9.12-arm64"), "on aarch64", False, True),
        (dataclasses.replace(KERNELS["6.12"], release="6.9.12-amd64"), None, True, True),
    ],
)
def test_what_is_not_for_each_machine_is_told(
    facts: Recorded, why: str | None, loads: bool, loads_task: bool
) -> None:
    """A table of records wants x86's order of stores; loads of any number want to be guarded; those from
    the current task on want a helper that says what it is."""
    plan = make_plan(facts, page_frames=1 << 20)
    assert plan.untabled is None if why is None else why in (plan.untabled or "")
    assert (plan.loads, plan.loads_task) == (loads, loads_task)
    assert plan.tier is Tier.FENTRY


def test_alloc_latency_only_on_request() -> None:
    assert "--alloc-latency" in make_plan(KERNELS["6.18"]).unseen[Unseen.ALLOC_LATENCY]
    plan = make_plan(KERNELS["6.18"], alloc_latency=True)
    assert plan.programs["alloc_exit"].hook.name == "__alloc_frozen_pages_noprof"
    assert "alloc latency" not in plan.unseen


def test_where_processes_go_is_seen_on_request_alone() -> None:
    """To see each fork costs each fork."""
    assert "task_born" not in make_plan(KERNELS["6.18"]).programs
    plan = make_plan(KERNELS["6.18"], departures=True)
    assert "task_born" in plan.programs
    assert plan.defines["WITH_DEPARTURES"] == 1


@pytest.mark.parametrize(("kernel", "attachment"), [("6.18", "raw tracepoint"), ("7.2", "tracepoint")])
def test_allocations_are_seen_by_a_program_that_is_not_preempted(kernel: str, attachment: str) -> None:
    plan = make_plan(KERNELS[kernel], steady=True)
    assert plan.attachments(Event.ALLOC) == [attachment]
    assert ("CLASSIC_ALLOC" in plan.defines) == (attachment == "tracepoint")
    assert plan.misses_tasks == (kernel == "7.2")
    assert make_plan(KERNELS[kernel]).attachments(Event.ALLOC) == ["raw tracepoint"]


@pytest.mark.parametrize(
    "lacking",
    [
        {"numbers": {}},
        {"symbols": {"__per_cpu_offset": 1 << 20, "__preempt_count": 1 << 10}},
        {"symbols": {"vmemmap_base": 1 << 21}},
        {"fields": {**KERNELS["7.2"].fields, ("trace_event_raw_mm_page_alloc", "order"): 20}},
    ],
    ids=["no tracefs", "no struct pages", "no preempt_count", "another record"],
)
def test_what_the_classic_tracepoint_cannot_do_the_raw_one_does(lacking: dict[str, Any]) -> None:
    plan = make_plan(dataclasses.replace(KERNELS["7.2"], **lacking), steady=True)
    assert plan.attachments(Event.ALLOC) == ["raw tracepoint"]
    assert "CLASSIC_ALLOC" not in plan.defines


def test_what_opens_a_record_is_attached_last() -> None:
    for tier in Tier:
        names = list(make_plan(KERNELS["6.18"], tier).programs)
        assert names[-1] == "page_alloc"
        if tier is not Tier.TRACEPOINT:
            assert names.index("uncharge") < names.index("charge_exit") < names.index("charge_entry")


def test_a_changed_prototype_of_the_charge_leaves_the_tracepoint_tier() -> None:
    """A future change of its arguments must not be misread: no function probe at all."""
    functions = {**KERNELS["7.2"].functions, "__memcg_kmem_charge_page": ("gfp_t", "struct page *", "int")}
    plan = make_plan(dataclasses.replace(KERNELS["7.2"], functions=functions))
    assert plan.tier is Tier.TRACEPOINT
    assert "could be misread" in plan.unseen[Unseen.FUNCTIONS]


@pytest.mark.parametrize("kernel", ["4.19", "5.4"])
def test_old_code_is_hooked_where_there_is_btf_for_it(kernel: str) -> None:
    plan = make_plan(KERNELS[kernel])
    assert plan.programs["page_alloc"].hook.name == "mm_page_alloc"
    assert (plan.tier, plan.refusal) == (Tier.FENTRY, None)


def test_newer_code_under_an_older_number_is_traced_as_what_it_is() -> None:
    """But for splits, whose argument only the number tells."""
    mixture = dataclasses.replace(KERNELS["5.10"], release="4.18.0-553.el8_10.x86_64")
    plan, newer = make_plan(mixture), make_plan(KERNELS["5.10"])
    assert newer.programs.keys() - plan.programs.keys() == {"split"}
    assert MismatchClass.SIZE_MISMATCH in plan.unjudged
    assert "4.18.0-553.el8_10.x86_64" in plan.unseen[Unseen.SPLIT]


def test_an_event_without_a_hook_says_why_and_what_it_costs() -> None:
    plan = make_plan(KERNELS["6.1"])
    assert isinstance(plan.hooks[Event.KERNEL_TOTAL], NoHook)
    assert COSTS[Event.KERNEL_TOTAL] in plan.unseen[Unseen.KERNEL_TOTAL]
    assert "alloc" not in plan.unseen


@pytest.mark.parametrize("tier", [Tier.FENTRY, Tier.KPROBE])
def test_a_forced_tier_that_is_not_there_is_refused(tier: Tier) -> None:
    with pytest.raises(CannotError, match=tier.value):
        make_plan(without_functions("6.18"), tier)


def test_no_tier_where_an_essential_hook_is_missing() -> None:
    blind = dataclasses.replace(KERNELS["6.18"], tracepoints={})
    plan = make_plan(blind)
    assert plan.tier is None
    assert plan.refusal is not None
    assert "alloc" in plan.refusal


@pytest.mark.parametrize(
    ("kernel", "field", "size", "objcg"),
    [
        ("5.10", "page_type", 4, False),
        ("6.1", "memcg_data", 8, True),
        ("6.18", "memcg_data", 8, True),
    ],
)
def test_page_mark(kernel: str, field: str, size: int, objcg: bool) -> None:
    mark = page_mark(KERNELS[kernel])
    assert (mark.mark_field, mark.mark_size, mark.owner_is_objcg) == (field, size, objcg)
    assert ("OFF_OBJCG_MEMCG" in defines(KERNELS[kernel])) == objcg


def test_5_11_keeps_a_memcg_where_5_13_keeps_an_objcg() -> None:
    between = dataclasses.replace(KERNELS["6.1"], release="5.11.0")
    assert not page_mark(between).owner_is_objcg


@pytest.mark.parametrize(
    ("kernel", "value"), [("4.19", 0x100000), ("5.4", 0x400000), ("6.1", 0x400000), ("6.18", 1 << 22)]
)
def test_gfp_account(kernel: str, value: int) -> None:
    assert gfp_account(KERNELS[kernel]) == value


@pytest.mark.parametrize(("kernel", "value_type"), [("6.18", "s32"), ("7.2", "s64")])
def test_width_of_the_state_tracepoints_value(kernel: str, value_type: str) -> None:
    assert make_plan(KERNELS[kernel], kernel_total=True).defines["MEMCG_STATE_VAL"] == value_type


@pytest.mark.parametrize(("kernel", "ids"), [("5.10", True), ("6.1", False)])
def test_subtree(kernel: str, ids: bool) -> None:
    found = subtree_defines(KERNELS[kernel], cgroup_id=4711, level=2)
    assert found["SUBTREE_ID"] == 4711
    assert ("ANCESTORS_ARE_IDS" in found) == ids


def test_subtree_refused_where_ancestors_have_no_kernfs_ids() -> None:
    old = dataclasses.replace(KERNELS["5.10"], release="5.4.0")
    with pytest.raises(CannotError, match=r"5\.5"):
        subtree_defines(old, 1, 1)


@pytest.mark.parametrize("missing", [("page_counter", "max"), ("cgroup", "kn")])
def test_a_missing_field_is_named(missing: tuple[str, str]) -> None:
    kernel = KERNELS["6.18"]
    fields = {k: v for k, v in kernel.fields.items() if k != missing}
    plan = make_plan(dataclasses.replace(kernel, fields=fields))
    assert plan.tier is None
    assert plan.refusal is not None
    assert ".".join(missing) in plan.refusal


def test_a_struct_page_of_odd_size_is_refused() -> None:
    with pytest.raises(CannotError, match="power of two"):
        defines(dataclasses.replace(KERNELS["6.18"], page_size=56))


def test_a_class_that_is_not_judged_has_a_name() -> None:
    """An event without one could not be defined."""
    assert {Unseen(one) for one in MismatchClass} <= {*Unseen}
