/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stack of an allocation without the kernel's own walk, which is most of what a charged page
 * costs.
 *
 * The distance on the stack from a return address to the next one is a constant of the former: the
 * compiler gives each call of a function the same frame, with few exceptions. So is that from a
 * program's context, which the hook puts on the stack, to the first. User space learns them
 * (kmemtrace/tracer/walk.py) from stacks that the kernel walked. What was not learnt, or leads
 * anywhere unknown, is walked by the kernel; and so is, for ever, one in WALK_CHECKS of those that
 * are known, to be held against.
 */
#ifndef KMEMTRACE_WALK_H
#define KMEMTRACE_WALK_H

#include "stacks.h"

#if defined(LEARNED_WALK) && !defined(WITHOUT_SITES)
#define WALK_STACK 16384 /* THREAD_SIZE and alignment; interrupts' stacks have them, too */

/* What was learnt of a return address: how many words after it the next one lies, or WALK_*; and
 * which ones come next, as far as they always were the same. */
struct hop {
	u64 address;
	u32 step;
	u32 next; /* where in `hops` the last of the run is */
	u64 run[WALK_RUN]; /* a shorter one has its last again */
	u16 at[WALK_RUN]; /* how many words after this one each of them lies */
	u16 frames; /* how many those are; 0: there is no run */
	u16 pad[3];
};

/* Of the stack, from the context on. */
struct stack_words {
	u64 context; /* read back it is a number, which the verifier lets be calculated with */
	u64 count; /* of the words that lie on this stack, WALK_WORDS at most */
	u64 at; /* as `context` */
	u64 words[WALK_WORDS];
};

/* What user space learns from. */
struct lesson {
	s64 stack; /* id of the kernel's own walk */
	u64 root; /* WALK_ROOT of the program */
	u64 count;
	u64 words[WALK_WORDS];
};

/* WALK_WAYS to a bucket, side by side, so that few find no room. */
BPF_ARRAY(hops, struct hop, WALK_HOPS *WALK_WAYS);
/* By the low bits of its hash, a path's other bits and, in place of these, its stack's id and 1. */
BPF_ARRAY(paths, u64, WALK_PATHS);
BPF_PERCPU_ARRAY(walk_counts, u64, NR_WALKS);
/* Each program has its own: a task may be interrupted in one, and by what is in the other. */
BPF_PERCPU_ARRAY(stack_words, struct stack_words, 2);
BPF_RINGBUF_OUTPUT(lessons, LESSONS_PAGES);
/* Stays zero: of a ring buffer's records the compiler tells nobody how they are laid out. */
BPF_ARRAY(lesson_layout, struct lesson, 1);

static __always_inline u64 count_walk(u32 what)
{
	u64 *count = walk_counts.lookup(&what);

	return count ? ++*count : 0;
}

/* How many bytes there are above the context; not past the stack's end, where a read would fault:
 * 500 ns. */
static __always_inline u64 stack_bytes(struct stack_words *stack)
{
	u64 size = WALK_STACK - (*(volatile u64 *)&stack->context & (WALK_STACK - 1));

	return size > sizeof(stack->words) ? sizeof(stack->words) : size;
}

static __always_inline bool copy_stack(void *ctx, struct stack_words *stack)
{
	return !bpf_probe_read_kernel(stack->words, stack_bytes(stack), ctx);
}

/* The part of the stack above the context. */
static __always_inline struct stack_words *find_stack(void *ctx, u32 program)
{
	struct stack_words *stack = stack_words.lookup(&program);

	if (!stack)
		return 0;
	*(volatile u64 *)&stack->context = (u64)ctx;
	stack->count = stack_bytes(stack) / sizeof(u64);
#ifndef CAST_FUNCTION
	if (!copy_stack(ctx, stack))
		return 0;
#endif
	return stack;
}

/* One that is below the stack's count. A dozen loads take less than a copy. */
static __always_inline u64 word_of_stack(struct stack_words *stack, u64 at)
{
#ifdef CAST_FUNCTION
	return read_u64(stack->context + at * sizeof(u64));
#else
	/* Else the verifier follows each path to each place, and gives up. */
	*(volatile u64 *)&stack->at = at;
	return stack->words[*(volatile u64 *)&stack->at & (WALK_WORDS - 1)];
#endif
}

static __always_inline u64 mixed(u64 hash, u64 word)
{
	hash = (hash ^ word) * WALK_MIX;
	return hash ^ hash >> 29;
}

/* What was learnt of an address, which may be at `place`, a guess; null where that is nothing. */
static __always_inline struct hop *hop_of(u64 address, u32 place)
{
	struct hop *hop = hops.lookup(&place);

	if (hop && hop->address == address)
		return hop;
	place = ((u32)(address * WALK_MIX >> 32) & (WALK_HOPS - 1)) * WALK_WAYS;
	NO_UNROLL
	for (u32 way = 0; way < WALK_WAYS; way++, place++) {
		hop = hops.lookup(&place);
		if (hop && hop->address == address)
			return hop;
	}
	return 0;
}

/*
 * A hash of all return addresses, as deep as the kernel's own walk goes; 0 where they are not
 * known.
 *
 * To go from one to the next takes 8 ns, for each word has to be there before it is known where to
 * look for the following. So the usual ones of a run are loaded at the same time, and compared.
 */
static __always_inline u64 known_path(struct stack_words *stack, u32 program)
{
	u64 hash = 0, at = 0, address = WALK_ROOT + program;
	u32 place = program ? WALK_CHARGE_ROOT_AT : WALK_ROOT_AT, frames = 0;

	NO_UNROLL
	for (u32 i = 0; i < STACK_DEPTH && frames < STACK_DEPTH; i++) {
		struct hop *hop = hop_of(address, place);
		u32 step, run;
		u64 last;

		if (!hop)
			return 0;
		step = hop->step;
		if (step == WALK_END)
			return hash;
		/* An exception's frame: where it came from the user, the stack ends. */
		if (step == WALK_REGISTERS) {
			at += WALK_REGISTERS_CS;
			if (at >= stack->count)
				return 0;
			return (word_of_stack(stack, at) & 3) == 3 ? hash : 0;
		}
		if (!step)
			return 0;
		place = hop->next;
		run = hop->frames;
		last = at + hop->at[WALK_RUN - 1];
		if (run && last < stack->count) {
			u64 a = word_of_stack(stack, at + hop->at[0]);
			u64 b = word_of_stack(stack, at + hop->at[1]);
			u64 c = word_of_stack(stack, at + hop->at[2]);
			u64 d = word_of_stack(stack, last);

			if (!((a ^ hop->run[0]) | (b ^ hop->run[1]) | (c ^ hop->run[2]) |
			      (d ^ hop->run[3]))) {
				/* By a run or singly: two names of one path are no matter. */
				hash = mixed(hash, a * 3 + b * 5 + c * 7 + d * 9);
				at = last;
				address = d;
				frames += run;
				continue;
			}
		}
		at += step;
		if (at >= stack->count)
			return 0;
		address = word_of_stack(stack, at);
		hash = mixed(hash, address);
		frames++;
	}
	return hash;
}

static __always_inline void teach(void *ctx, struct stack_words *stack, u32 program, s32 walked)
{
	struct lesson *lesson;

#ifdef CAST_FUNCTION
	if (!copy_stack(ctx, stack))
		return;
#endif
	lesson = lessons.ringbuf_reserve(sizeof(*lesson));
	if (!lesson)
		return; /* there are enough for now */
	lesson->stack = walked;
	lesson->root = WALK_ROOT + program;
	lesson->count = stack->count;
	__builtin_memcpy(lesson->words, stack->words, sizeof(lesson->words));
	lessons.ringbuf_submit(lesson, BPF_RB_NO_WAKEUP);
}

/* As stack_of(). `asked`: STACK_HERE or STACK_AT_CHARGE, by the program that asks. */
static __always_inline s32 path_of(void *ctx, s32 asked)
{
	u32 program = asked == STACK_AT_CHARGE;
	struct stack_words *stack = find_stack(ctx, program);
	u64 path = stack ? known_path(stack, program) : 0;
	u32 at = path & (WALK_PATHS - 1);
	u64 *word = path ? paths.lookup(&at) : 0;
	bool known = word && *word && !((*word ^ path) & ~(u64)(WALK_PATHS - 1));
	s32 before = known ? (s32)(*word & (WALK_PATHS - 1)) - 1 : STACK_UNKNOWN, here;

	if (known && count_walk(WALK_KNOWN) & (WALK_CHECKS - 1))
		return before;
	here = stack_of(ctx);
	if (here < 0 || !stack)
		return here;
	if (known) {
		count_walk(WALK_CHECKED);
		if (before == here)
			return here;
		lose(LOSS_WALK_WRONG, 1);
	}
	if (word)
		*word = (path & ~(u64)(WALK_PATHS - 1)) | (u64)(here + 1);
	else
		count_walk(WALK_UNKNOWN);
	if (!known) /* of one whose addresses are known, what comes after which */
		teach(ctx, stack, program, here);
	return here;
}
#else
static __always_inline s32 path_of(void *ctx, s32 asked)
{
	return stack_of(ctx);
}
#endif

#endif
