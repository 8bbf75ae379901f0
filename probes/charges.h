/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger: a record for each page (or block) that is charged, from its
 * charge to its end, and sums by cgroup and by call site.
 *
 * Whoever closes a record counts its end; nobody else does. That
 * one rule keeps the sums right when a free, a sweep and a missed event meet.
 */
#ifndef KMEMTRACE_CHARGES_H
#define KMEMTRACE_CHARGES_H

#include "exempt.h"
#include "losses.h"
#include "memcg.h"
#include "pages.h"
#include "records.h"
#include "unfollowed.h"
#include "walk.h"

struct latency {
	u64 ns;
	u64 counts[HISTOGRAM_BUCKETS];
};

struct totals {
	u64 charged; /* base pages, as everywhere */
	u64 uncharged;
	u64 lost; /* ended, and on the counter for good: of findings, certain or not */
	u64 before; /* charged before the start, and found by the search */
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
	u64 lost;
};

BPF_HASH(cgroups, u64, struct totals, MAX_CGROUPS);
BPF_HASH(sites, struct site_key, struct site, MAX_SITES);
BPF_ARRAY(no_totals, struct totals, 1); /* stays zero: too big for the stack */
BPF_ARRAY(scanned, u64, 1); /* 1: the search is through */

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

/* For what is no charge: after a cgroup's removal the kernel still moves its sums about
 * (MEMCG_KMEM, as its last slab pages go). That must not bring back one that has been told for the
 * last time. */
static __always_inline struct totals *totals_of_memcg(u64 memcg)
{
	u64 cgroup = kernfs_id(cgroup_of(memcg));

	return is_online(memcg) ? totals_of(cgroup) : cgroups.lookup(&cgroup);
}

/* The sums of who asked, null where it cannot be said: the page still counts
 * for its cgroup. */
static __always_inline struct site *site_of(void *ctx, struct charge *charge, s32 stack)
{
#ifdef WITHOUT_SITES
	charge->stack = STACK_NO_SITE;
	return 0;
#else
	struct site_key key = {
		.cgroup = charge->owner.cgroup,
		.stack = stack == STACK_HERE ? path_of(ctx) : stack,
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
		charge->stack = STACK_NO_SITE;
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

/* Whether the search for pages that were charged before the start is; until then nothing is stray.
 */
static __always_inline bool search_is_through(void)
{
	u32 first = 0;
	u64 *through = scanned.lookup(&first);

	return through && *through;
}

static __always_inline void count_before(struct totals *totals, struct site *site, s64 count)
{
	__sync_fetch_and_add(&totals->before, count);
	if (site)
		__sync_fetch_and_add(&site->charged, count);
}

/* Takes back what the search counted of a page, with its record, if that is there still: the charge
 * was under way when the page was found, and is counted now, or its end had come. Answers whether
 * it was there. */
static __always_inline bool forget_before(u64 page)
{
	struct charge before;
	struct totals *totals;

	if (!close_found_record(page, &before))
		return false; /* there is none, or another CPU ended it, and counted its end */
	totals = cgroups.lookup(&before.owner.cgroup);
	if (totals)
		count_before(totals, site_at_end(&before), -(1LL << before.order));
	return true;
}

/* Opens the record of a page that bears the mark, which was read; answers the sums of whom it is
 * charged to, null where it is not charged or not followed. `time` is when the charge began, 0
 * where only its end was seen, just now: what was missed since, such as the exit of an earlier
 * charge, whose entry this exit then took for its own, may explain a finding away. */
static __always_inline struct totals *begin_charge(void *ctx, u64 page, u64 mark, u32 order,
						   u32 flags, s32 stack, u64 time)
{
	struct charge charge = {.time = time, .order = order, .flags = flags};
	struct totals *totals;
	struct site *site;
	u64 count = 1ULL << order;
	/* Asked first: what it found by then has its bit by now. */
	bool through = search_is_through();
	int error;

	if (!is_mark(mark) || !owner_from(owner_beside(page, mark), &charge.owner) ||
	    !in_subtree(charge.owner.memcg)) {
		end_unfollowed(page);
		return 0;
	}
	set_unfollowed(page, true);
	if (is_from_before(page))
		forget_before(page);
	totals = totals_of(charge.owner.cgroup);
	if (!totals)
		return 0;
	if (active_memcg(bpf_get_current_task())) {
		charge.flags |= CHARGE_REMOTE;
		exempt(EXEMPT_REMOTE);
	}
	site = site_of(ctx, &charge, stack);
	if (!time) /* after the stack walk, which is no part of the page's life */
		charge.time = bpf_ktime_get_ns();
	/* What is not tracked has no record: to look for one takes as long as to open it. */
	error = is_tracked(page) ? put_record(page, &charge) : open_record(page, &charge);
	if (error) {
		lose(LOSS_PAGES_FULL, 1);
		return totals;
	}
	if (!through && has_found_record_too(page))
		forget_before(page);
	track(page, order, TRACKED);
	end_unfollowed(page);
	if (order) /* what became of its pages when they were another's */
		set_unfollowed_block(page, order, false);
	__sync_fetch_and_add(&totals->charged, count);
	if (flags & CHARGE_EXPLICIT)
		__sync_fetch_and_add(&totals->explicit, count);
	if (site)
		__sync_fetch_and_add(&site->charged, count);
	return totals;
}

#endif
