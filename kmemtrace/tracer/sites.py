"""Tells from a kernel stack who asked for a page: the kind and the function."""

import re
from collections.abc import Sequence
from itertools import dropwhile, takewhile

from kmemtrace import text
from kmemtrace.model.enums import SiteKind

UNKNOWN = "(unknown)"

# What a stack begins with because we looked: our program, and the tracepoint that ran it.
_TRACER = re.compile(
    r"bpf_prog_[0-9a-f]{16}_|bpf_trampoline_|bpf_trace_run|_*bpf_get_stack|__bpf_|__traceiter_"
    r"|(__do_)?trace_|perf_trace_"
)

# Frames of the allocators themselves: they tell how a page was got, not for what.
_ALLOCATOR = re.compile(
    r"(__)?memcg_kmem_charge(_page)?($|_)"
    r"|(__)?alloc_(frozen_)?pages?($|_|\.)|__folio_alloc|folio_alloc|___?get_free_pages?|__get_free_pages?"
    r"|get_free_pages?|get_zeroed_page|alloc_page_interleave|alloc_contig|alloc_skb_with_frags"
    r"|__kmalloc|___kmalloc|kmalloc_|kmalloc$|kvmalloc|__kvmalloc|kvrealloc|krealloc|kmem_cache_"
    r"|vmalloc|__vmalloc|vzalloc|vm_area_alloc|__get_vm_area|alloc_vmap_area|new_slab|___slab_alloc"
    r"|__slab_alloc|allocate_slab|pcpu_|__alloc_percpu"
)

# The page allocator's own users that are worth naming when nothing more telling called them.
_LAYERS = (
    (re.compile(r"__vmalloc|vmalloc|vzalloc|vm_area_alloc"), SiteKind.VMALLOC),
    (re.compile(r"_*kmalloc_large|_*kmalloc_order"), SiteKind.KMALLOC_LARGE),
)

_KINDS = (
    (re.compile(r"anon_pipe_|pipe_write|alloc_pipe_info|pipe_resize|create_pipe"), SiteKind.PIPE),
    (re.compile(r"unix_(stream|dgram|seqpacket)_"), SiteKind.UNIX_SOCKET),
    (
        re.compile(
            r"pte_alloc|__p[tgmu4]d?d_alloc|__pte_alloc|_?_?pgd_alloc|pmd_alloc|pud_alloc|p4d_alloc"
            r"|do_anonymous_page|copy_page_range|copy_p[tmu4]d?_range|__handle_mm_fault|walk_to_p[mu]d"
            r"|move_page_tables|pagetable_alloc"
        ),
        SiteKind.PAGE_TABLE,
    ),
    (re.compile(r"alloc_thread_stack|dup_task_struct|memcg_charge_kernel_stack"), SiteKind.THREAD_STACK),
    (re.compile(r"bpf_map|bpf_prog|bpf_ringbuf|(array|htab|prealloc|stack)_map|__sys_bpf|map_create"),
     SiteKind.BPF),
    (re.compile(r"io_uring|io_(mem_alloc|create_region|allocate)|__io_uaddr|__do_sys_io_uring"),
     SiteKind.IO_URING),
    (re.compile(r"kvm_|__kvm|vmx_|svm_"), SiteKind.KVM),
)  # fmt: skip

# What serves many callers, and whose memory is not of their kind: a table of descriptors that grows as a
# message passes some, a driver's own part of a page fault, an interrupt or a fault of whoever ran just then.
_ON_BEHALF = re.compile(
    r"alloc_fdtable|expand_fdtable|expand_files|_*alloc_fd$|get_unused_fd_flags|_*receive_fd|dup_fd"
    r"|__do_fault|asm_|el[01]h?t?_|_*irq_exit|handle_softirqs|_*do_softirq"
)


def function(frame: str) -> str:
    """Returns the function's name, without offset and the compiler's suffixes."""
    return text.function(frame).partition(".")[0]


def without_tracer(stack: Sequence[str]) -> tuple[str, ...]:
    """Returns a stack as it would be if nobody looked: it begins inside the allocator."""
    return tuple(dropwhile(_TRACER.match, stack))


def classify(stack: Sequence[str]) -> tuple[SiteKind, str]:
    """Returns kind and symbol of a stack, which has its innermost frame first.

    They are those of the first frame outside the allocator; its callers decide the kind where that frame
    alone does not.
    """
    callers = [f for f in map(function, without_tracer(stack)) if f and not _ALLOCATOR.match(f)]
    symbol = callers[0] if callers else UNKNOWN
    if symbol == "copy_process":  # which dup_task_struct was inlined into
        return SiteKind.THREAD_STACK, symbol
    for caller in callers[:1] + list(takewhile(lambda c: not _ON_BEHALF.match(c), callers[1:])):
        for pattern, kind in _KINDS:
            if pattern.match(caller):
                return kind, symbol
    kind = _layer(stack)
    return SiteKind.UNKNOWN if (kind, symbol) == (SiteKind.OTHER, UNKNOWN) else kind, symbol


def _layer(stack: Sequence[str]) -> SiteKind:
    for frame in map(function, stack):
        for pattern, kind in _LAYERS:
            if pattern.match(frame):
                return kind
    return SiteKind.OTHER
