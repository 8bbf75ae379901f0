/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger: a record for each page (or block) that is charged, from its
 * charge to its end, and sums by cgroup and by call site.
 *
 * Whoever deletes a record from `pages` counts its end; nobody else does. That
 * one rule keeps the sums right when a free, a sweep and a missed event meet.
 */
#ifndef KMEMTRACE_CHARGES_H
#define KMEMTRACE_CHARGES_H

#include "pages.h"
#include "memcg.h"

struct charge {
	struct owner owner; /* as of the charge: a later reparenting changes nothing */
	u64 time; /* CLOCK_MONOTONIC, ns */
	u16 order;
	u16 flags; /* CHARGE_* */
	s32 stack; /* STACK_UNKNOWN, or NO_SITE when `sites` has no entry for it */
};

enum {
	CHARGE_EXPLICIT = 1, /* asked for outside the page allocator, as for thread stacks */
	CHARGE_SPLIT = 2, /* its parts may end one by one */
};

enum {
	STACK_UNKNOWN = -1,
	NO_SITE = -2,
	STACK_HERE = -3, /* where a stack is wanted: take that of the program itself */
};

struct latency {
	u64 ns;
	u64 counts[HISTOGRAM_BUCKETS];
};

struct totals {
	u64 charged; /* base pages, as everywhere */
	u64 uncharged;
	u64 uncharged_put; /* of these, by the put path */
	u64 failed; /* charges, not pages */
	u64 explicit; /* of those charged, outside the page allocator */
	s64 kernel; /* change of the kernel's own total, in pages */
	u64 stalls; /* reclaim that a task of this cgroup had to do itself */
	u64 stall_ns;
	struct latency lifetime;
#ifdef WITH_CHARGE
	struct latency charge;
#endif
#ifdef WITH_ALLOC_LATENCY
	struct latency alloc;
#endif
};

struct site_key {
	u64 cgroup;
	s32 stack;
	u32 pad;
};

struct site {
	u64 charged;
	u64 uncharged;
};

struct stack {
	u64 ip[STACK_DEPTH];
};

BPF_HASH(pages, u64, struct charge, MAX_PAGES);
BPF_HASH(cgroups, u64, struct totals, MAX_CGROUPS);
BPF_HASH(sites, struct site_key, struct site, MAX_SITES);
BPF_TABLE("stacktrace", int, struct stack, stacks, MAX_STACKS);
BPF_ARRAY(losses, u64, NR_LOSSES);
BPF_ARRAY(no_totals, struct totals, 1); /* stays zero: too big for the stack */

enum end {
	END_FREE, /* by mm_page_free: direct if its mark is still set, else by the put path */
	END_UNCHARGE, /* direct, by the function that uncharges a page */
	END_PUT, /* by the put path's function */
	END_HEALED,
	END_SWEPT,
};

static __always_inline void lose(u32 what, u64 count)
{
	u64 *lost = losses.lookup(&what);

	if (lost)
		__sync_fetch_and_add(lost, count);
}

static __always_inline struct totals *totals_of(u64 cgroup)
{
	struct totals *totals = cgroups.lookup(&cgroup), *zero;
	u32 first = 0;

	if (totals)
		return totals;
	zero = no_totals.lookup(&first);
	if (zero)
		cgroups.insert(&cgroup, zero);
	totals = cgroups.lookup(&cgroup);
	if (!totals)
		lose(LOSS_CGROUPS_FULL, 1);
	return totals;
}

/* Two stacks of one hash bucket exclude each other; without its first frame,
 * which is the tracepoint's and tells nothing, a stack hashes elsewhere. */
static __always_inline s32 stack_of(void *ctx)
{
	s32 stack = stacks.get_stackid(ctx, 0);

	if (stack < 0)
		stack = stacks.get_stackid(ctx, 1);
	if (stack < 0) {
		lose(LOSS_STACK_UNKNOWN, 1);
		return STACK_UNKNOWN;
	}
	return stack;
}

/* The sums of who asked, null where it cannot be said: the page still counts
 * for its cgroup. */
static __always_inline struct site *site_of(void *ctx, struct charge *charge, s32 stack)
{
#ifdef WITHOUT_SITES
	charge->stack = NO_SITE;
	return 0;
#else
	struct site_key key = {
		.cgroup = charge->owner.cgroup,
		.stack = stack == STACK_HERE ? stack_of(ctx) : stack,
	};
	struct site *site, none = {};

	charge->stack = key.stack;
	site = sites.lookup(&key);
	if (!site) {
		sites.insert(&key, &none);
		site = sites.lookup(&key);
	}
	if (!site) {
		lose(LOSS_SITES_FULL, 1);
		charge->stack = NO_SITE;
	}
	return site;
#endif
}

static __always_inline struct site *site_at_end(struct charge *charge)
{
#ifdef WITHOUT_SITES
	return 0;
#else
	struct site_key key = {.cgroup = charge->owner.cgroup, .stack = charge->stack};

	return sites.lookup(&key);
#endif
}

static __always_inline void count_latency(struct latency *latency, u64 ns)
{
	u64 bucket = bpf_log2l(ns); /* 64 bits wide: the verifier loses narrower bounds */

	bucket = bucket < HISTOGRAM_SHIFT ? 0 : bucket - HISTOGRAM_SHIFT;
	if (bucket > HISTOGRAM_BUCKETS - 1)
		bucket = HISTOGRAM_BUCKETS - 1;
	__sync_fetch_and_add(&latency->ns, ns);
	__sync_fetch_and_add(&latency->counts[bucket], 1);
}

/* Opens the record of a page that bears the mark; answers the sums of whom it is charged to, null
 * where it is not charged or not followed. */
static __always_inline struct totals *begin_charge(void *ctx, u64 page, u32 order, u32 flags,
						   s32 stack)
{
	struct charge charge = {.order = order, .flags = flags};
	struct totals *totals;
	struct site *site;
	u64 count = 1ULL << order;

	if (!is_charged(page) || !owner_of(page, &charge.owner))
		return 0;
	if (!in_subtree(charge.owner.memcg))
		return 0;
	totals = totals_of(charge.owner.cgroup);
	if (!totals)
		return 0;
	site = site_of(ctx, &charge, stack);
	charge.time = bpf_ktime_get_ns();
	if (pages.update(&page, &charge)) {
		lose(LOSS_PAGES_FULL, 1);
		return totals;
	}
	track(page, order, true);
	__sync_fetch_and_add(&totals->charged, count);
	if (flags & CHARGE_EXPLICIT)
		__sync_fetch_and_add(&totals->explicit, count);
	if (site)
		__sync_fetch_and_add(&site->charged, count);
	return totals;
}

/* The record that covers a page: its own, or after a split its block's. */
static __always_inline u64 record_of(u64 page, struct charge *charge)
{
	UNROLL
	for (u32 order = 0; order <= MAX_ORDER; order++) {
		u64 head = block_head(page, order);
		struct charge *found = pages.lookup(&head);

		if (found && found->order >= order) {
			*charge = *found;
			return head;
		}
	}
	return 0;
}

/* A part of a block was freed: what is left becomes blocks of their own, as
 * the buddy allocator would cut them. */
static __always_inline void keep_rest(u64 page, u32 order, struct charge *charge)
{
	u32 whole = charge->order;

	UNROLL
	for (u32 cut = 0; cut < MAX_ORDER; cut++) {
		u64 buddy = block_head(page, cut) ^ (1ULL << (STRUCT_PAGE_SHIFT + cut));

		if (cut < order || cut >= whole)
			continue;
		charge->order = cut;
		if (pages.update(&buddy, charge))
			lose(LOSS_PAGES_FULL, 1);
	}
}

static __always_inline void count_end(struct charge *charge, u64 count, bool put)
{
	struct totals *totals = cgroups.lookup(&charge->owner.cgroup);
	struct site *site = site_at_end(charge);

	if (site)
		__sync_fetch_and_add(&site->uncharged, count);
	if (!totals)
		return;
	__sync_fetch_and_add(&totals->uncharged, count);
	if (put)
		__sync_fetch_and_add(&totals->uncharged_put, count);
	count_latency(&totals->lifetime, bpf_ktime_get_ns() - charge->time);
}

static __always_inline void end_charge(u64 page, u32 order, enum end end)
{
	struct charge charge = {};
	u64 head = record_of(page, &charge);
	bool put = end == END_PUT || (end == END_FREE && !is_charged(page));
	u64 count;

	if (!head) {
		lose(LOSS_UNMATCHED_FREE, 1);
		track(page, order, false);
		return;
	}
	if (pages.delete(&head))
		return; /* another CPU ended it first, and counts it */
	if (order > charge.order)
		order = charge.order;
	track(page, order, false);
	if (order < charge.order)
		keep_rest(page, order, &charge);
	count = 1ULL << order;
	if (end == END_HEALED)
		lose(LOSS_HEALED, count);
	if (end == END_SWEPT)
		lose(LOSS_SWEPT, count);
	count_end(&charge, count, put);
}

#endif
