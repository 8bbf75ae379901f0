/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arguments and results of a probed function, and what tells one call of it
 * from all others, by fentry or by kprobe.
 */
#ifndef KMEMTRACE_REGISTERS_H
#define KMEMTRACE_REGISTERS_H

#include "basics.h"
#include "charges.h"

/* Of the context, at an offset in bytes. */
static __always_inline u64 word_of_context(void *ctx, u32 offset)
{
	return *(volatile u64 *)((char *)ctx + offset);
}

#ifdef TIER_FENTRY
/* The context is an array of the arguments, at exit followed by the result. */
static __always_inline u64 argument(void *ctx, u32 position)
{
	return word_of_context(ctx, 8 * position);
}

/* A pointer among them the verifier knows as one, and lets nobody calculate with it; to read it as
 * memory gives a number. */
static __always_inline u64 pointer_argument(void *ctx, u32 position)
{
	return read_u64((u64)ctx + 8 * position);
}

#define result_of argument
#define pointer_result_of pointer_argument

/* A task is in one call with such an argument at a time; entry and exit both see it. Even, for odd
 * ones have a meaning (RECORD_TAKEN), and not 0. */
static __always_inline u64 entry_key(void *ctx, u64 argument)
{
	return (bpf_get_current_task() + argument * MIX) << 1 | 2;
}

#define exit_key entry_key
#define STACK_AT_ENTRY(ctx) STACK_AT_CHARGE
#define STACK_AT_EXIT(call) STACK_AT_CHARGE
#endif

#ifdef TIER_KPROBE
/* The context is struct pt_regs; offsets in bytes, part of each architecture's interface to user
 * space (ptrace). */
#if defined(__x86_64__)
#define REG_ARGUMENT(i) ((i) == 0 ? 112 : (i) == 1 ? 104 : (i) == 2 ? 96 : 88) /* di si dx cx */
#define REG_RESULT 80 /* ax */
#define REG_STACK 152
#define CALL_PUSHES 8 /* the return address, which is popped again before the exit */
#elif defined(__aarch64__)
#define REG_ARGUMENT(i) (8 * (i))
#define REG_RESULT 0
#define REG_STACK 248
#define CALL_PUSHES 0
#else
#error "kprobes: this architecture's registers are not known"
#endif

#define argument(ctx, position) word_of_context(ctx, REG_ARGUMENT(position))
#define pointer_argument argument
#define result_of(ctx, arguments) word_of_context(ctx, REG_RESULT)
#define pointer_result_of result_of

/* Up to 5.x the stack cannot be walked at a kretprobe: the return address is the probe's own. */
#ifdef WITHOUT_SITES
#define STACK_AT_ENTRY(ctx) STACK_NO_SITE
#else
#define STACK_AT_ENTRY(ctx) path_of(ctx, STACK_AT_CHARGE)
#endif
#define STACK_AT_EXIT(call) (call).stack

/* The arguments are gone at the exit, but the stack pointer is back where the call was made: no
 * two calls that are under way share it. */
static __always_inline u64 entry_key(void *ctx, u64 argument)
{
	return word_of_context(ctx, REG_STACK) + CALL_PUSHES;
}

static __always_inline u64 exit_key(void *ctx, u64 argument)
{
	return word_of_context(ctx, REG_STACK);
}
#endif

#endif
