/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes on the functions that charge, uncharge and allocate: the fentry and
 * the kprobe tier. PROGRAM_<name> is defined for each that the Plan attaches,
 * ARG_<EVENT>_<NAME> is an argument's position, ARGS_<EVENT> their number.
 */
#ifndef KMEMTRACE_FUNCTIONS_H
#define KMEMTRACE_FUNCTIONS_H

#include "basics.h"
#include "calls.h"
#include "charges.h"
#include "ends.h"
#include "memcg.h"
#include "pages.h"
#include "registers.h"
#include "sums.h"
#include "unfollowed.h"
#include "verdicts.h"

#ifdef WITH_ALLOC_LATENCY
enum {
	ALLOC_UNACCOUNTED = 0,
	ALLOC_ACCOUNTED = MAX_ORDER + 1,
	ALLOC_CHARGES = 2 * (MAX_ORDER + 1), /* charges inside the allocator, of any order */
	ALLOC_SLOTS,
};

BPF_PERCPU_ARRAY(allocations, struct latency, ALLOC_SLOTS);

static __always_inline void count_allocation(u32 slot, u64 ns)
{
	struct latency *latency = allocations.lookup(&slot);

	if (latency)
		count_latency(latency, ns);
}
#endif

#ifdef WITH_CHARGE
struct failure_key {
	u64 cgroup;
	s32 error; /* errno, positive */
	u32 pad;
};

BPF_HASH(failures, struct failure_key, u64, MAX_FAILURES);

static __always_inline void charge_failed(s32 error)
{
	u64 memcg = current_memcg(), one = 1, *count;
	struct failure_key key = {.error = error};
	struct totals *totals;

	if (!in_subtree(memcg))
		return;
	key.cgroup = kernfs_id(cgroup_of(memcg));
	totals = totals_of_memcg(memcg);
	if (!totals)
		return;
	__sync_fetch_and_add(&totals->failed, 1);
	count = failures.lookup(&key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else if (failures.insert(&key, &one))
		lose(LOSS_FAILURES_FULL, 1);
}

int charge_entry(void *ctx)
{
	struct call call = {
		.page = pointer_argument(ctx, ARG_CHARGE_PAGE),
		.gfp = argument(ctx, ARG_CHARGE_GFP),
		.order = argument(ctx, ARG_CHARGE_ORDER),
	};
	u64 key = entry_key(ctx, call.page);

	call.stack = STACK_AT_ENTRY(ctx);
	if (call.order > MAX_ORDER)
		return 0;
	if (is_tracked(call.page)) /* charged anew while its record is open */
		end_charge(ctx, call.page, call.order, END_HEALED);
	set_unfollowed(call.page, true); /* should the exit be missed */
	call.time = bpf_ktime_get_ns(); /* last: the stack walk is no part of the charge */
	begin_call(key, &call);
	return 0;
}

/* The exit of a charge whose entry was not seen: entered before the start, or missed. */
static __always_inline void unpaired(void *ctx)
{
#ifdef TIER_FENTRY
	u64 page = pointer_argument(ctx, ARG_CHARGE_PAGE);

	if (is_charged(page) && !is_tracked(page)) {
		set_unfollowed(page, true);
		lose(LOSS_UNPAIRED, 1);
	}
#else
	lose(LOSS_UNPAIRED, 1); /* which page it was is not known any more */
#endif
}

/* Reads the mark that the function has just set: one that returned 0 without it charged nobody
 * (the root cgroup). */
int charge_exit(void *ctx)
{
	struct call call = {};
	u64 key = exit_key(ctx, pointer_argument(ctx, ARG_CHARGE_PAGE));
	s32 result = result_of(ctx, ARGS_CHARGE);
	u64 now = bpf_ktime_get_ns(), ns;
	struct totals *totals;
	u64 cgroup;

	if (!end_call(key, &call)) {
		unpaired(ctx);
		return 0;
	}
	ns = now - call.time;
	if (result) {
		set_unfollowed(call.page, false);
		charge_failed(-result);
		return 0;
	}
	cgroup = begin_charge(ctx, call.page, mark_of(call.page), call.order,
			      call.gfp & GFP_ACCOUNT ? 0 : CHARGE_EXPLICIT, STACK_AT_EXIT(call),
			      call.time);
	totals = cgroup ? find_totals(cgroup) : 0;
	if (!totals)
		return 0;
	count_latency(&totals->charge, ns);
#ifdef WITH_ALLOC_LATENCY
	if (call.gfp & GFP_ACCOUNT)
		count_allocation(ALLOC_CHARGES, ns);
#endif
	return 0;
}
#endif

#ifdef WITH_UNCHARGE
int uncharge(void *ctx)
{
	u64 page = pointer_argument(ctx, ARG_UNCHARGE_PAGE);
	u32 order = argument(ctx, ARG_UNCHARGE_ORDER);

	if (order > MAX_ORDER || !is_charged(page)) /* without its mark the kernel does nothing */
		return 0;
	if (is_tracked(page))
		end_charge(ctx, page, order, END_UNCHARGE);
#ifdef JUDGE_STRAY_UNCHARGE
	else
		judge_stray(ctx, page, order);
#endif
	return 0;
}
#endif

#if defined(PROGRAM_put_uncharge) || defined(PROGRAM_put_uncharge_batch)
/* The put path uncharges a compound page whole, of any other block the first page alone. */
static __always_inline void put_tracked(void *ctx, u64 page)
{
	u64 whole = -(read_u64(page + OFF_PAGE_FLAGS) >> PG_HEAD & 1);
	struct charge *charge = record_of_page(page);
	u32 order = 0;

	/* All bits of a compound page, none of another; hidden from clang, which would make a
	 * branch of it. On 6.1 the verifier followed both sides to the end, in 826,000 of the
	 * million instructions that it takes; without the branch, 258,000. */
	asm volatile("" : "+r"(whole));
	if (MOSTLY(charge))
		order = charge->order & whole;
	if (is_charged(page))
		end_charge(ctx, page, order, END_PUT);
}
#endif

#ifdef PROGRAM_put_uncharge
int put_uncharge(void *ctx)
{
	u64 page = pointer_argument(ctx, ARG_PUT_UNCHARGE_PAGE);

	if (is_tracked(page))
		put_tracked(ctx, page);
#ifdef JUDGE_STRAY_UNCHARGE
	else if (is_charged(page))
		judge_stray(ctx, page, 0);
#endif
	return 0;
}
#endif

#ifdef PROGRAM_put_uncharge_batch
#define BATCH_SIZE 31 /* PAGEVEC_SIZE of 6.10 on, when batches came */
#define LIST_SIZE 512 /* of a list, before: what one round of release_pages() frees at most */

/* Notes that a page is uncharged: its free, just after, ends its record. To end it here, in a loop,
 * would take the verifier minutes. Answers the page if its owner is not the one that was charged.
 */
static __always_inline u64 note_put(u64 page)
{
	struct charge *charge;

	if (!is_tracked(page) || !is_charged(page))
		return 0;
	set_unfollowed(page, true);
	charge = record_of_page(page);
	if (!charge || owner_word(page) == charge->owner.objcg)
		return 0;
#ifdef JUDGE_WRONG_CGROUP
	charge->flags |= CHARGE_ELSEWHERE;
#endif
	return page;
}

#ifdef ARG_PUT_UNCHARGE_BATCH_LIST
/* Through a map, for the reason given at find_charged(). */
struct walk {
	u64 next;
	u64 wrong;
};

BPF_PERCPU_ARRAY(walks, struct walk, 1);

static __always_inline u64 note_all(void *ctx)
{
	u64 list = pointer_argument(ctx, ARG_PUT_UNCHARGE_BATCH_LIST);
	u32 first = 0;
	volatile struct walk *walk = walks.lookup(&first);

	if (!walk)
		return 0;
	walk->next = read_u64(list);
	walk->wrong = 0;
	NO_UNROLL
	for (u32 i = 0; i < LIST_SIZE; i++) {
		u64 next = walk->next, found;

		if (next == list || !next)
			return walk->wrong;
		found = note_put(next - OFF_PAGE_LRU);
		if (found)
			walk->wrong = found;
		walk->next = read_u64(next);
	}
	lose(LOSS_BATCH_FULL, 1);
	return walk->wrong;
}
#else
static __always_inline u64 note_all(void *ctx)
{
	u64 batch = pointer_argument(ctx, ARG_PUT_UNCHARGE_BATCH_BATCH), wrong = 0;
	u32 count = read_u32(batch + OFF_BATCH_NR) & 0xff;
	/* Read at once: nearly all are users' pages, and a read for each is what they would pay. */
	u64 folios[BATCH_SIZE] = {};

	if (count > BATCH_SIZE)
		lose(LOSS_BATCH_FULL, 1);
	bpf_probe_read_kernel(folios, sizeof(folios), (void *)(batch + OFF_BATCH_FOLIOS));
	NO_UNROLL
	for (u32 i = 0; i < BATCH_SIZE; i++) {
		u64 found;

		if (i >= count)
			break;
		found = note_put(folios[i]);
		wrong = found ? found : wrong;
	}
	return wrong;
}
#endif

int put_uncharge_batch(void *ctx)
{
	u64 wrong = note_all(ctx);
#ifdef JUDGE_WRONG_CGROUP
	struct charge *charge = wrong ? record_of_page(wrong) : 0;
	struct charge copy = {};

	if (charge) {
		struct ending ending = {
			.head = wrong,
			.page = wrong,
			.order = charge->order,
			.end = END_PUT,
			.lost = 1U << charge->order,
			.taken = 1U << charge->order,
		};

		copy = *charge;
		if (is_covered(wrong, 1))
			copy.flags |= CHARGE_COVERED;
		report(ctx, MISMATCH_WRONG_CGROUP, &copy, &ending);
	}
#endif
	return 0;
}
#endif

#ifdef PROGRAM_split
#ifdef ARG_SPLIT_NR
#define SPLIT_ORDER(ctx) (bpf_log2l(argument(ctx, ARG_SPLIT_NR)) - 1)
#else
#define SPLIT_ORDER(ctx) argument(ctx, ARG_SPLIT_ORDER)
#endif

int split(void *ctx)
{
	u64 head = pointer_argument(ctx, ARG_SPLIT_HEAD);
	struct charge *charge;

	charge = is_tracked(head) ? record_of_page(head) : 0;
	if (charge)
		charge->flags |= CHARGE_SPLIT;
	else
		split_unfollowed(head, SPLIT_ORDER(ctx));
	/* Each of its pages may now be uncharged by itself, and the record is of the first alone.
	 */
	if (is_from_before(head) && (!charge || charge->flags & CHARGE_OF_ANY_ORDER))
		set_unfollowed_block(head, SPLIT_ORDER(ctx), true);
	return 0;
}
#endif

#ifdef WITH_ALLOC_LATENCY
int alloc_entry(void *ctx)
{
	struct call call = {
		.gfp = argument(ctx, ARG_ALLOC_GFP),
		.order = argument(ctx, ARG_ALLOC_ORDER),
	};
	/* An interrupt's allocation inside a task's has other flags, and so another key. */
	u64 key = entry_key(ctx, (u64)call.gfp << 32 | call.order);

	call.time = bpf_ktime_get_ns();
	if (call.order <= MAX_ORDER)
		begin_call(key, &call);
	return 0;
}

int alloc_exit(void *ctx)
{
	u32 gfp = argument(ctx, ARG_ALLOC_GFP), order = argument(ctx, ARG_ALLOC_ORDER);
	u64 key = exit_key(ctx, (u64)gfp << 32 | order);
	u64 page = pointer_result_of(ctx, ARGS_ALLOC);
	u64 now = bpf_ktime_get_ns(), ns;
	struct charge *charge;
	struct totals *totals;
	struct call call = {};

	if (!end_call(key, &call) || call.order > MAX_ORDER)
		return 0;
	ns = now - call.time;
	if (!(call.gfp & GFP_ACCOUNT)) {
		count_allocation(ALLOC_UNACCOUNTED + call.order, ns);
		return 0;
	}
	count_allocation(ALLOC_ACCOUNTED + call.order, ns);
	if (!page || !is_tracked(page))
		return 0;
	charge = record_of_page(page);
	totals = charge ? find_totals(charge->owner.cgroup) : 0;
	if (totals)
		count_latency(&totals->alloc, ns);
	return 0;
}
#endif

#endif
