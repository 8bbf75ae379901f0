"""Which hook each kernel generation gets, from recorded facts."""

import dataclasses
from collections.abc import Mapping

import pytest

from kmemtrace.kernel.hooks import HOOKS, Event, Hook, Mechanism, NoHook, choose
from tests.unit.recorded import KERNELS, MEMCG, PAGE

RAW, FUNCTION = Mechanism.RAW_TRACEPOINT, Mechanism.FUNCTION

EXPECTED: list[tuple[Event, Mechanism, Mapping[str, str | None]]] = [
    # event, mechanism, hook by kernel (None: none)
    (Event.ALLOC, RAW, dict.fromkeys(KERNELS, "mm_page_alloc")),
    (Event.FREE, RAW, dict.fromkeys(KERNELS, "mm_page_free")),
    (
        Event.ALLOC,
        FUNCTION,
        {
            "4.8": "__alloc_pages_nodemask",
            "4.19": "__alloc_pages_nodemask",
            "5.4": "__alloc_pages_nodemask",
            "5.10": "__alloc_pages_nodemask",
            "6.1": "__alloc_pages",
            "6.12": "__alloc_pages_noprof",
            "6.18": "__alloc_frozen_pages_noprof",
            "7.2": "__alloc_frozen_pages_noprof",
            "7.3": "__alloc_frozen_pages_noprof",
        },
    ),
    (Event.FREE, FUNCTION, dict.fromkeys(KERNELS)),
    (
        Event.CHARGE,
        FUNCTION,
        {
            "4.8": "memcg_kmem_charge",
            "4.19": "memcg_kmem_charge",
            "5.4": "__memcg_kmem_charge",
            **dict.fromkeys(("5.10", "6.1", "6.12", "6.18", "7.2"), "__memcg_kmem_charge_page"),
        },
    ),
    (
        Event.UNCHARGE,
        FUNCTION,
        {
            "4.8": "memcg_kmem_uncharge",
            "4.19": "memcg_kmem_uncharge",
            "5.4": "__memcg_kmem_uncharge",
            **dict.fromkeys(("5.10", "6.1", "6.12", "6.18", "7.2"), "__memcg_kmem_uncharge_page"),
        },
    ),
    (
        Event.PUT_UNCHARGE,
        FUNCTION,
        {
            "4.8": "mem_cgroup_uncharge",
            "5.10": "mem_cgroup_uncharge",
            "6.1": "__mem_cgroup_uncharge",
            # uncharge_folio, which they share, is static: a compiler may inline some calls of it.
            **dict.fromkeys(("6.12", "6.18", "7.2"), "__mem_cgroup_uncharge"),
        },
    ),
    (
        Event.PUT_UNCHARGE_BATCH,
        FUNCTION,
        {
            "4.8": "mem_cgroup_uncharge_list",
            "5.10": "mem_cgroup_uncharge_list",
            "6.1": "__mem_cgroup_uncharge_list",
            **dict.fromkeys(("6.12", "6.18", "7.2"), "__mem_cgroup_uncharge_folios"),
        },
    ),
    (
        Event.KERNEL_TOTAL,
        RAW,
        {"5.10": None, "6.1": None, "6.12": None, "6.18": "mod_memcg_state", "7.2": "mod_memcg_state"},
    ),
    (
        Event.CGROUP_RMDIR,
        RAW,
        {"4.8": None, "4.19": "cgroup_rmdir", "5.10": "cgroup_rmdir", "7.2": "cgroup_rmdir"},
    ),
]


@pytest.mark.parametrize(
    ("event", "mechanism", "kernel", "name"),
    [
        (event, mechanism, kernel, name)
        for event, mechanism, names in EXPECTED
        for kernel, name in names.items()
    ],
)
def test_hook_by_kernel(event: Event, mechanism: Mechanism, kernel: str, name: str | None) -> None:
    hook = choose(event, mechanism, KERNELS[kernel])
    assert (hook.name if isinstance(hook, Hook) else None) == name


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("5.10", {"head": 0, "nr": 1}),
        ("6.1", {"head": 0, "nr": 1}),
        ("6.12", {"head": 0, "order": 1, "new_order": 2}),
        ("6.18", {"head": 0, "order": 1}),
        ("7.2", {"head": 0, "order": 1}),
    ],
)
def test_split_counts_pages_or_order(kernel: str, arguments: dict[str, int]) -> None:
    """6.1 and 6.18 agree in name and prototype but not in what the second argument means."""
    hook = choose(Event.SPLIT, FUNCTION, KERNELS[kernel])
    assert isinstance(hook, Hook)
    assert dict(hook.arguments) == arguments


@pytest.mark.parametrize("code", ["5.10", "6.1"])
def test_newer_code_under_an_older_number_is_hooked_by_its_prototypes(code: str) -> None:
    """As enterprise distributions ship it. But what the second argument of a split means only the number
    tells, and this one tells nothing."""
    mixture = dataclasses.replace(KERNELS[code], release="4.18.0-553.el8_10.x86_64")
    for event in Event:
        for mechanism in Mechanism:
            of_code, of_mixture = (choose(event, mechanism, facts) for facts in (KERNELS[code], mixture))
            if event is not Event.SPLIT or isinstance(of_code, NoHook):
                assert of_mixture == of_code
    split = choose(Event.SPLIT, FUNCTION, mixture)
    assert isinstance(split, NoHook)
    assert "4.18.0-553.el8_10.x86_64" in split.reason


def test_the_swapped_arguments_of_7_2_are_read_where_they_are() -> None:
    old = choose(Event.RECLAIM_BEGIN, RAW, KERNELS["6.18"])
    new = choose(Event.RECLAIM_BEGIN, RAW, KERNELS["7.2"])
    assert isinstance(old, Hook)
    assert isinstance(new, Hook)
    assert (old.arguments["order"], new.arguments["order"]) == (0, 1)


def test_a_name_with_a_strange_prototype_is_not_hooked() -> None:
    """5.4's row must not take 5.10's function of the same name, nor any future change."""
    kernel = dataclasses.replace(
        KERNELS["5.10"], functions={"__memcg_kmem_charge": (MEMCG, "gfp_t", "unsigned int")}
    )
    refused = choose(Event.CHARGE, FUNCTION, kernel)
    assert isinstance(refused, NoHook)
    assert "__memcg_kmem_charge(struct mem_cgroup *, gfp_t, unsigned int)" in refused.reason

    kernel = dataclasses.replace(KERNELS["7.2"], tracepoints={"mm_page_free": (PAGE, "int", "int")})
    refused = choose(Event.FREE, RAW, kernel)
    assert isinstance(refused, NoHook)
    assert "could be misread" in refused.reason


def test_every_row_says_why_and_rows_of_one_event_do_not_hide_each_other() -> None:
    assert all(hook.why for hook in HOOKS)
    seen: set[tuple[object, ...]] = set()
    for hook in HOOKS:
        key = (hook.event, hook.mechanism, hook.name, hook.prototype, hook.since)
        assert key not in seen
        seen.add(key)
        assert hook.since < hook.until
