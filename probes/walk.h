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

#include "spread.h"
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
	u64 chance; /* which of those that are known are walked as well */
	u64 words[WALK_WORDS];
};

/*
 * The last path from a context of that depth in the stack: where its words lay, and what they were.
 * Where they lie there again, the path is the same one: what was learned of each says where the
 * next one lies. To compare them is less than to find them, for no word waits for the one before.
 */
struct route {
	u64 path; /* 0: not all of it is known */
	u64 learned; /* changes() before it was looked for */
	u64 count; /* of the words; to a multiple of WALK_RUN the last is there again */
	u64 last; /* the farthest of `at` */
	u64 stack; /* its id and 1; 0: no route */
	u16 at[ROUTE_WORDS];
	u64 words[ROUTE_WORDS];
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
BPF_PERCPU_ARRAY(walks_checked, u64, 1); /* of stacks that were known */
/* Each program has its own: a task may be interrupted in one, and by what is in the other. */
BPF_PERCPU_ARRAY(stack_words, struct stack_words, 2);
BPF_PERCPU_ARRAY(routes, struct route, 2 * WALK_ROUTES);
BPF_ARRAY(learned, u64, 1); /* how often `hops` was changed, counted after it was */
BPF_RINGBUF_OUTPUT(lessons, LESSONS_PAGES);
/* How many each stack gave; and, from LESSONS_EACH on, could have given. */
BPF_ARRAY(lessons_of, u64, WALK_STACKS);
/* Stays zero: of a ring buffer's records the compiler tells nobody how they are laid out. */
BPF_ARRAY(lesson_layout, struct lesson, 1);

static __always_inline void count_check(void)
{
	u32 first = 0;
	u64 *count = walks_checked.lookup(&first);

	if (count)
		*count += 1;
}

/* How often what was learned has changed. */
static __always_inline u64 changes(void)
{
	u32 first = 0;
	u64 *count = learned.lookup(&first);

	return count ? *(volatile u64 *)count : 0;
}

/* No route holds any more, on any CPU. */
static __always_inline void forget_routes(void)
{
	u32 first = 0;
	u64 *count = learned.lookup(&first);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* How many bytes there are above the context; not past the stack's end, where a read would fault:
 * 500 ns. */
static __always_inline u64 stack_bytes(struct stack_words *stack)
{
	u64 size = WALK_STACK - (*(volatile u64 *)&stack->context & (WALK_STACK - 1));

	return size > sizeof(stack->words) ? sizeof(stack->words) : size;
}

/* Where words cannot be loaded, they are copied before they are looked at; so far, if it is enough.
 */
static __always_inline bool has_words(void *ctx, struct stack_words *stack, u64 bytes)
{
#ifdef CAST_FUNCTION
	return true;
#else
	return !bpf_probe_read_kernel(stack->words, bytes, ctx);
#endif
}

/* The part of the stack above the context. */
static __always_inline struct stack_words *find_stack(void *ctx, u32 program)
{
	struct stack_words *stack = stack_words.lookup(&program);

	if (!stack)
		return 0;
	*(volatile u64 *)&stack->context = (u64)ctx;
	stack->count = stack_bytes(stack) / sizeof(u64);
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
	hash = (hash ^ word) * MIX;
	return hash ^ hash >> 29;
}

/* What was learnt of an address, which may be at `place`, a guess; null where that is nothing. */
static __always_inline struct hop *hop_of(u64 address, u32 place)
{
	struct hop *hop = hops.lookup(&place);

	if (hop && hop->address == address)
		return hop;
	place = spread(address, WALK_HOPS) * WALK_WAYS;
	NO_UNROLL
	for (u32 way = 0; way < WALK_WAYS; way++, place++) {
		hop = hops.lookup(&place);
		if (hop && hop->address == address)
			return hop;
	}
	return 0;
}

static __always_inline struct route *route_of(struct stack_words *stack, u32 program)
{
	u32 at = *(volatile u64 *)&stack->context / sizeof(u64) & (WALK_ROUTES - 1);

	at += program * WALK_ROUTES;
	return routes.lookup(&at);
}

/* Whether each word of a route lies where it lay. */
static __always_inline bool leads_again(void *ctx, struct route *route, struct stack_words *stack)
{
	u64 last = route->last;

	if (last >= stack->count ||
	    !has_words(ctx, stack, ((last & (WALK_WORDS - 1)) + 1) * sizeof(u64)))
		return false;
	NO_UNROLL
	for (u32 i = 0; i < ROUTE_WORDS; i += WALK_RUN) {
		u64 a, b, c, d;

		if (i >= route->count)
			return true;
		a = word_of_stack(stack, route->at[i]) ^ route->words[i];
		b = word_of_stack(stack, route->at[i + 1]) ^ route->words[i + 1];
		c = word_of_stack(stack, route->at[i + 2]) ^ route->words[i + 2];
		d = word_of_stack(stack, route->at[i + 3]) ^ route->words[i + 3];
		if (a | b | c | d)
			return false;
	}
	return true;
}

static __always_inline void note_word(struct route *route, u32 ahead, u64 at, u64 word)
{
	u64 place = (*(volatile u64 *)&route->count + ahead) & (ROUTE_WORDS - 1);

	route->at[place] = at;
	route->words[place] = word;
}

static __always_inline void go_on(struct route *route, u64 count)
{
	*(volatile u64 *)&route->count = *(volatile u64 *)&route->count + count;
}

/*
 * A hash of all return addresses, as deep as the kernel's own walk goes; 0 where they are not
 * known.
 *
 * To go from one to the next takes 8 ns, for each word has to be there before it is known where to
 * look for the following. So the usual ones of a run are loaded at the same time, and compared.
 */
static __always_inline u64 find_path(struct route *route, struct stack_words *stack, u32 program)
{
	u64 hash = 0, at = 0, address = WALK_ROOT + program;
	u32 place = program ? WALK_CHARGE_ROOT_AT : WALK_ROOT_AT, frames = 0;

	*(volatile u64 *)&route->count = 0;
	NO_UNROLL
	for (u32 i = 0; i < STACK_DEPTH && frames < STACK_DEPTH; i++) {
		struct hop *hop = hop_of(address, place);
		u32 step, run;
		u64 last;

		if (!hop)
			return 0;
		step = hop->step;
		if (step == WALK_END)
			break;
		/* An exception's frame: where it came from the user, the stack ends. */
		if (step == WALK_REGISTERS) {
			at += WALK_REGISTERS_CS;
			if (at >= stack->count)
				return 0;
			address = word_of_stack(stack, at);
			if ((address & 3) != 3)
				return 0;
			note_word(route, 0, at, address);
			go_on(route, 1);
			break;
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
				note_word(route, 0, at + hop->at[0], a);
				note_word(route, 1, at + hop->at[1], b);
				note_word(route, 2, at + hop->at[2], c);
				note_word(route, 3, last, d);
				go_on(route, run);
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
		note_word(route, 0, at, address);
		go_on(route, 1);
		hash = mixed(hash, address);
		frames++;
	}
	route->last = at;
	note_word(route, 0, at, address);
	note_word(route, 1, at, address);
	note_word(route, 2, at, address);
	return hash;
}

/* A stack that cannot be learned teaches ever less: however often it came, it would leave no room
 * to the others. */
static __always_inline void teach(void *ctx, struct stack_words *stack, u32 program, s32 walked)
{
	u32 at = walked;
	u64 *count = lessons_of.lookup(&at), next;
	struct lesson *lesson;

	if (!count)
		return;
	next = *count + 1;
	if (next > LESSONS_EACH && next & *count) { /* no power of two */
		*count = next;
		return;
	}
	lesson = lessons.ringbuf_reserve(sizeof(*lesson));
	if (!lesson)
		return; /* there are enough for now */
	if (bpf_probe_read_kernel(lesson->words, stack_bytes(stack), ctx)) {
		lessons.ringbuf_discard(lesson, BPF_RB_NO_WAKEUP);
		return;
	}
	*count = next;
	lesson->stack = walked;
	lesson->root = WALK_ROOT + program;
	lesson->count = stack->count;
	lessons.ringbuf_submit(lesson, BPF_RB_NO_WAKEUP);
}

/* Finds the path, and whether its stack is known. */
static __always_inline bool is_found(void *ctx, struct route *route, struct stack_words *stack,
				     u32 program)
{
	u64 *word, found;
	u32 at;

	route->stack = 0;
	route->path = 0;
	if (!has_words(ctx, stack, stack_bytes(stack)))
		return false;
	route->path = find_path(route, stack, program);
	at = route->path & (WALK_PATHS - 1);
	word = route->path ? paths.lookup(&at) : 0;
	found = word ? *(volatile u64 *)word
		     : 0; /* once: another CPU may put another path's there */
	if (!found || (found ^ route->path) & ~(u64)(WALK_PATHS - 1))
		return false;
	route->stack = found & (WALK_PATHS - 1);
	return true;
}

static __always_inline void remember(struct route *route, s32 stack)
{
	u32 at = route->path & (WALK_PATHS - 1);
	u64 *word = paths.lookup(&at);

	route->stack = stack + 1;
	if (word)
		*word = (route->path & ~(u64)(WALK_PATHS - 1)) | route->stack;
}

/* By chance: every so many'th, of calls that take turns, would always be the same one's. */
static __always_inline bool is_checked(struct stack_words *stack)
{
	stack->chance = stack->chance * MIX + 1; /* each number comes once */
	return stack->chance <= ~0ULL / WALK_CHECKS;
}

/* As stack_of(). `asked`: STACK_HERE or STACK_AT_CHARGE, by the program that asks. */
static __always_inline s32 path_of(void *ctx, s32 asked)
{
	u32 program = asked == STACK_AT_CHARGE;
	struct stack_words *stack = find_stack(ctx, program);
	struct route *route = stack ? route_of(stack, program) : 0;
	u64 now = changes(),
	    before; /* its stack, before it is compared: it may be another route after */
	bool known;
	s32 here;

	if (!route)
		return stack_of(ctx);
	before = *(volatile u64 *)&route->stack;
	known = before && route->learned == now && leads_again(ctx, route, stack);
	if (SELDOM(!known)) {
		route->learned = now;
		known = is_found(ctx, route, stack, program);
		before = route->stack;
	}
	if (MOSTLY(known && !is_checked(stack)))
		return before - 1;
	here = known ? walked_stack(ctx) : stack_of(ctx);
	if (here < 0)
		return known ? before - 1 : here;
	if (known) {
		count_check();
		if (before == here + 1)
			return here;
		lose(LOSS_WALK_WRONG, 1);
	}
	if (route->path)
		remember(route, here);
	if (known) /* after it is right in `paths`, from which other CPUs' have it, too */
		forget_routes();
	else /* of one whose addresses are known, what comes after which */
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
