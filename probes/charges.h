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
	u32 order;
	s32 stack; /* STACK_UNKNOWN, or NO_SITE when `sites` has no entry for it */
};

enum {
	STACK_UNKNOWN = -1,
	NO_SITE = -2,
};

struct totals {
	u64 charged; /* base pages, as everywhere */
	u64 uncharged;
	u64 uncharged_put; /* of these, by the put path */
	u64 failed; /* charges, not pages */
	s64 kernel; /* change of the kernel's own total, in pages */
	u64 lifetime_ns;
	u64 lifetime[HISTOGRAM_BUCKETS];
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
	END_FREE,
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
static __always_inline struct site *site_of(void *ctx, struct charge *charge)
{
#ifdef WITHOUT_SITES
	charge->stack = NO_SITE;
	return 0;
#else
	struct site_key key = {.cgroup = charge->owner.cgroup, .stack = stack_of(ctx)};
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

static __always_inline void begin_charge(void *ctx, u64 page, u32 order)
{
	struct charge charge = {.order = order};
	struct totals *totals;
	struct site *site;
	u64 count = 1ULL << order;

	if (!is_charged(page) || !owner_of(page, &charge.owner))
		return;
	if (!in_subtree(charge.owner.memcg))
		return;
	totals = totals_of(charge.owner.cgroup);
	if (!totals)
		return;
	site = site_of(ctx, &charge);
	charge.time = bpf_ktime_get_ns();
	if (pages.update(&page, &charge)) {
		lose(LOSS_PAGES_FULL, 1);
		return;
	}
	track(page, order, true);
	__sync_fetch_and_add(&totals->charged, count);
	if (site)
		__sync_fetch_and_add(&site->charged, count);
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
	u64 lifetime = bpf_ktime_get_ns() - charge->time;
	u64 bucket = bpf_log2l(lifetime); /* 64 bits wide: the verifier loses narrower bounds */

	if (site)
		__sync_fetch_and_add(&site->uncharged, count);
	if (!totals)
		return;
	__sync_fetch_and_add(&totals->uncharged, count);
	if (put)
		__sync_fetch_and_add(&totals->uncharged_put, count);
	__sync_fetch_and_add(&totals->lifetime_ns, lifetime);
	bucket = bucket < HISTOGRAM_SHIFT ? 0 : bucket - HISTOGRAM_SHIFT;
	if (bucket > HISTOGRAM_BUCKETS - 1)
		bucket = HISTOGRAM_BUCKETS - 1;
	__sync_fetch_and_add(&totals->lifetime[bucket], 1);
}

static __always_inline void end_charge(u64 page, u32 order, enum end end)
{
	struct charge charge = {};
	u64 head = record_of(page, &charge);
	bool put = end == END_FREE && !is_charged(page);
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
