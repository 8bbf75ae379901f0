/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why the kernel may leave an accounted allocation uncharged. It decides by the
 * state of the task that asks, which is still the same at mm_page_alloc; what
 * cannot be told apart from a legal case is taken for one.
 */
#ifndef KMEMTRACE_EXEMPT_H
#define KMEMTRACE_EXEMPT_H

#include "basics.h"
#include "memcg.h"

BPF_PERCPU_ARRAY(exempted, u64, NR_EXEMPTIONS);

static __always_inline void exempt(u32 why)
{
	u64 *count = exempted.lookup(&why);

	if (count)
		*count += 1;
}

enum {
	PF_EXITING = 0x00000004,
	PF_KTHREAD = 0x00200000,
	INTERRUPT_MASK = 0x00ffff00, /* of preempt_count: softirq (or held off), hardirq, NMI */
};

#define TASK_STACK_BYTES 16384 /* a larger one's upper part counts as an interrupt's */

#if !defined(PREEMPT_COUNT_AT) && !defined(OFF_TASK_PREEMPT_COUNT)
BPF_PERCPU_ARRAY(contexts, u64, 1);
#endif

/*
 * By preempt_count where each task has it, or kallsyms tells its address. Else by the stack that
 * the program's context lies on: an interrupt has one of its own, unless it came from user mode;
 * then the frames of the allocation's stack show it.
 */
static __always_inline bool in_interrupt(void *ctx)
{
#ifdef OFF_TASK_PREEMPT_COUNT
	/* Its low half on arm64, which keeps there whether to reschedule as well. */
	return read_u32(bpf_get_current_task() + OFF_TASK_PREEMPT_COUNT) & INTERRUPT_MASK;
#elif defined(PREEMPT_COUNT_AT)
	u64 base = read_u64(PER_CPU_OFFSETS + 8 * (u64)bpf_get_smp_processor_id());

	return read_u32(base + PREEMPT_COUNT_AT) & INTERRUPT_MASK;
#else
	u64 stack = read_u64(bpf_get_current_task() + OFF_TASK_STACK);
	u32 first = 0;
	volatile u64 *context = contexts.lookup(&first);

	if (!context)
		return true;
	*context = (u64)ctx; /* read back, it is a number, which the verifier lets be compared */
	return *context - stack >= TASK_STACK_BYTES;
#endif
}

/* From 6.7 on (1aacbd354313) a task keeps the objcg that it charges; without a valid one at this
 * moment nobody was to be charged: it is about to be looked up anew, or the task is ending. */
static __always_inline bool has_no_objcg(u64 task)
{
#ifdef OFF_TASK_OBJCG
	u64 objcg = read_u64(task + OFF_TASK_OBJCG);

	return !objcg || (objcg & 1);
#else
	return false;
#endif
}

static __always_inline bool is_root(u64 memcg)
{
	return read_u32(cgroup_of(memcg) + OFF_CGROUP_LEVEL) == 0;
}

/* An Exemption, or NR_EXEMPTIONS where there is none. */
static __always_inline u32 why_uncharged(void *ctx)
{
	u64 task = bpf_get_current_task(), memcg;
	u32 flags = read_u32(task + OFF_TASK_FLAGS);

	if (in_interrupt(ctx))
		return EXEMPT_INTERRUPT;
	if (active_memcg(task))
		return EXEMPT_REMOTE;
	if (flags & PF_KTHREAD)
		return EXEMPT_KERNEL_THREAD;
	if (flags & PF_EXITING || !read_u64(task + OFF_TASK_MM))
		return EXEMPT_EXITED_TASK;
	memcg = current_memcg();
	if (is_root(memcg))
		return EXEMPT_ROOT;
	if (!is_online(memcg))
		return EXEMPT_OFFLINE;
	if (has_no_objcg(task))
		return EXEMPT_MOVED;
	return NR_EXEMPTIONS;
}

#endif
