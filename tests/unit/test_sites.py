"""Who asked for a page, from stacks as kernels of several generations give them."""

import numpy as np
import pytest

from kmemtrace.kernel.symbols import Symbols
from kmemtrace.model.enums import SiteKind
from kmemtrace.tracer.sites import UNKNOWN, classify, function, without_tracer
from kmemtrace.tracer.stacks import Stacks

RAW = [
    "bpf_prog_8e0e42bc20dc86b1_page_alloc+0x9be",
    "bpf_trace_run4+0xfc",
    "__alloc_frozen_pages_noprof+0x26b",
]
FEXIT = ["bpf_prog_2b0c99f0a1b2c3d4_charge_exit+0x51", "bpf_trampoline_6442530035+0x9d"]
FEXIT += ["__memcg_kmem_charge_page+0x5", "__alloc_pages+0x2b1"]
KPROBE = ["__memcg_kmem_charge_page+0x1", "__alloc_pages+0x2b1"]


@pytest.mark.parametrize("begin", [RAW, FEXIT, KPROBE])
@pytest.mark.parametrize(
    ("callers", "kind", "symbol"),
    [
        (["alloc_pages_noprof+0x4b", "anon_pipe_write+0x18e", "vfs_write+0x2d1"], "pipe", "anon_pipe_write"),
        (["pipe_write+0x1a3", "new_sync_write+0x11c"], "pipe", "pipe_write"),
        (
            ["alloc_skb_with_frags+0x9d", "sock_alloc_send_pskb+0x1e0", "unix_stream_sendmsg+0x2a5"],
            "unix_socket",
            "sock_alloc_send_pskb",
        ),
        (["pte_alloc_one+0x1c", "__pte_alloc+0x21", "handle_mm_fault+0x9c"], "page_table", "pte_alloc_one"),
        (["__get_free_pages+0xd", "pgd_alloc+0x26", "mm_init+0x1a0"], "page_table", "pgd_alloc"),
        (
            ["memcg_charge_kernel_stack+0x4d", "copy_process+0x5c3"],
            "thread_stack",
            "memcg_charge_kernel_stack",
        ),
        (["copy_process+0x1d0", "kernel_clone+0x9d"], "thread_stack", "copy_process"),
        (
            ["__vmalloc_node_range+0x3b4", "alloc_thread_stack_node+0x1", "copy_process+0x5"],
            "thread_stack",
            None,
        ),
        (["__vmalloc_node_range_noprof+0x3b4", "kvmalloc_node+0x60", "newary+0x6b"], "vmalloc", "newary"),
        (["___kmalloc_large_node+0x5b", "__kmalloc_noprof+0x1", "newary+0x6b"], "kmalloc_large", "newary"),
        (["__vmalloc_node_range+0x3b4", "bpf_map_area_alloc+0x1", "array_map_alloc+0x9"], "bpf", None),
        (["io_create_region+0x5b", "io_uring_setup+0x1"], "io_uring", "io_create_region"),
        (["kvm_mmu_topup_memory_cache+0x5", "x+0x1"], "kvm", "kvm_mmu_topup_memory_cache"),
        (["my_module_alloc.isra.0+0x12 [my]", "ksys+0x1"], "other", "my_module_alloc"),
    ],
)
def test_classify(begin: list[str], callers: list[str], kind: str, symbol: str | None) -> None:
    found, name = classify(begin + callers)
    assert found is SiteKind(kind)
    assert symbol is None or name == symbol


def test_a_stack_of_nothing_but_the_allocator_is_unknown() -> None:
    assert classify(RAW) == (SiteKind.UNKNOWN, UNKNOWN)
    assert classify([]) == (SiteKind.UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ([UNKNOWN, UNKNOWN], "unknown"),  # as all are where the kernel hides its addresses
        ([UNKNOWN, "unix_stream_sendmsg+0x2a5"], "unix_socket"),
        ([UNKNOWN, "ksys_write+0x1"], "unknown"),
        (["my_module_alloc+0x12", UNKNOWN], "other"),
    ],
)
def test_what_has_no_name_is_not_other(stack: list[str], kind: str) -> None:
    assert classify(stack) == (SiteKind(kind), function(stack[0]))


TABLE_GROWS = ["__kvmalloc_node_noprof+0x5b", "alloc_fdtable+0x9d", "expand_files+0x1b2", "alloc_fd+0x12c"]
FAULT = ["do_fault+0x1", "__handle_mm_fault+0x2", "handle_mm_fault+0x3", "exc_page_fault+0x4"]
FAULT += ["asm_exc_page_fault+0x22", "rep_movs_alternative+0x33", "unix_stream_sendmsg+0x2a5"]
INTERRUPT = ["handle_softirqs+0xd", "irq_exit_rcu+0xc", "asm_sysvec_apic_timer_interrupt+0x1a"]


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ([*TABLE_GROWS, "receive_fd+0x17", "scm_detach_fds+0x15", "unix_stream_read_generic+0x3"], "other"),
        ([*TABLE_GROWS, "get_unused_fd_flags+0x2", "bpf_map_new_fd+0x1", "__sys_bpf+0x9"], "other"),
        ([*TABLE_GROWS, "get_unused_fd_flags+0x2", "kvm_vm_ioctl+0x1"], "other"),
        (["drm_gem_get_pages+0x8", "drm_gem_shmem_fault+0x1", "__do_fault+0x3", *FAULT], "other"),
        (["pte_alloc_one+0x1c", "__pte_alloc+0x21", *FAULT[1:]], "page_table"),
        (["__do_fault+0x3", *FAULT], "page_table"),  # which pte_alloc_one was inlined into
        (["rx_refill+0x1", *INTERRUPT, "pipe_write+0x1a3"], "other"),
    ],
)
def test_what_serves_many_is_not_of_its_callers_kind(stack: list[str], kind: str) -> None:
    assert classify(RAW + stack)[0] is SiteKind(kind)


@pytest.mark.parametrize("begin", [RAW, FEXIT])
def test_our_own_frames_are_not_shown(begin: list[str]) -> None:
    shown = without_tracer([*begin, "pipe_write+0x1"])
    assert not any(frame.startswith(("bpf_prog", "bpf_tr")) for frame in shown)
    assert shown[-1] == "pipe_write+0x1"


class NamedSymbols(Symbols):
    def __init__(self, names: dict[int, str]) -> None:
        self.function = names.get  # type: ignore[method-assign,assignment]
        self.text = range(0xFFFFFFFF81000000, 0xFFFFFFFF82000000)


def test_a_stack_begins_in_the_kernels_own_code() -> None:
    """What a tracer's own part of it is called cannot be relied upon."""
    names = {
        0xFFFFFFFFC0001000: "ftrace_trampoline+0x55",
        0xFFFFFFFF81000010: "__alloc_pages+0x2b1",
        0xFFFFFFFF81000020: "pipe_write+0x1a3",
        0xFFFFFFFFC0002000: "write_hook+0x2",
    }
    addresses = np.array([*names, 0, 0], "u8")
    stack = Stacks({7: addresses}, NamedSymbols(names))[7]  # type: ignore[arg-type]
    assert stack.frames == ("__alloc_pages+0x2b1", "pipe_write+0x1a3", "write_hook+0x2")
    assert (stack.kind, stack.symbol) == (SiteKind.PIPE, "pipe_write")
