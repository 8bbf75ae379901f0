/* SPDX-License-Identifier: GPL-2.0-only */
/* Which code asked: the kernel's own walk of the stack. It takes 1.5 us for a dozen frames. */
#ifndef KMEMTRACE_STACKS_H
#define KMEMTRACE_STACKS_H

#include "losses.h"

struct stack {
	u64 ip[STACK_DEPTH];
};

BPF_TABLE("stacktrace", int, struct stack, stacks, MAX_STACKS);

#define IS_ANOTHERS (-17) /* EEXIST */

/*
 * The id of the stack; negative where the kernel cannot tell it, as when a program is preempted
 * in its walk, and another one of the same CPU asks for one (EFAULT).
 *
 * Two stacks of one hash bucket exclude each other; with a frame more or less,
 * which tells nothing, a stack hashes elsewhere. What is learned of stacks
 * wants one id for each, so the program is no part of them, nor is who runs it:
 * the kernel has two places to run a raw tracepoint's program from, one of them
 * while kernel.bpf_stats_enabled is set. Nor does it have that frame when the walk
 * failed: it would be another stack the next time.
 */
static __always_inline s32 walked_stack(void *ctx)
{
#ifdef LEARNED_WALK
	s32 stack = stacks.get_stackid(ctx, STACK_SKIPS);
#else
	s32 stack = stacks.get_stackid(ctx, 0);
#endif

	return stack == IS_ANOTHERS ? stacks.get_stackid(ctx, 1) : stack;
}

static __always_inline s32 stack_of(void *ctx)
{
	s32 stack = walked_stack(ctx);

	if (stack < 0) {
		lose(LOSS_STACK_UNKNOWN, 1);
		return STACK_UNKNOWN;
	}
	return stack;
}

#endif
