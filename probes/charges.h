/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger: a record for each page (or block) that is charged, from its
 * charge to its end.
 *
 * Whoever closes a record counts its end; nobody else does. That
 * one rule keeps the sums right when a free, a sweep and a missed event meet.
 */
#ifndef KMEMTRACE_CHARGES_H
#define KMEMTRACE_CHARGES_H

#include "clock.h"
#include "exempt.h"
#include "losses.h"
#include "memcg.h"
#include "pages.h"
#include "records.h"
#include "sums.h"
#include "unfollowed.h"
#include "walk.h"

BPF_ARRAY(scanned, u64, 1); /* 1: the search is through */

/* Whether it stands for where the program is. */
static __always_inline bool is_asked(s32 stack)
{
	return stack == STACK_HERE || stack == STACK_AT_CHARGE;
}

/* The sums that a charge is counted at: those of who asked or, where that cannot be said, of its
 * cgroup. Null where there is no room for a cgroup more. */
static __always_inline struct site *site_of(void *ctx, struct charge *charge, s32 stack)
{
	u64 cgroup = charge->owner.cgroup;
	struct totals *totals;
#ifndef WITHOUT_SITES
	struct site_key key = {
		.cgroup = cgroup,
		.stack = is_asked(stack) ? path_of(ctx, stack) : stack,
		.taken = 1,
	};
	struct site *site = find_site(&key);

	charge->stack = key.stack;
	if (MOSTLY(site))
		return site;
#endif
	totals = totals_of(cgroup);
	if (!totals)
		return 0;
#ifndef WITHOUT_SITES
	site = new_site(&key);
	if (site)
		return site;
#endif
	charge->stack = STACK_NO_SITE;
	return &totals->own;
}

/* The same at its end; null where user space has forgotten the cgroup. */
static __always_inline struct site *site_at_end(struct charge *charge)
{
	u64 cgroup = charge->owner.cgroup;
	struct totals *totals;
#ifndef WITHOUT_SITES
	struct site_key key = {.cgroup = cgroup, .stack = charge->stack, .taken = 1};

	if (charge->stack != STACK_NO_SITE)
		return find_site(&key);
#endif
	totals = find_totals(cgroup);
	return totals ? &totals->own : 0;
}

/* Whether the search for pages that were charged before the start is; until then nothing is stray.
 */
static __always_inline bool search_is_through(void)
{
	u32 first = 0;
	u64 *through = scanned.lookup(&first);

	return through && *through;
}

static __always_inline void count_before(struct charge *charge, struct site *site, s64 count)
{
	struct totals *totals = find_totals(charge->owner.cgroup);

	if (totals)
		__sync_fetch_and_add(&totals->before, count);
	if (site && charge->stack != STACK_NO_SITE)
		__sync_fetch_and_add(&site->charged, count);
}

/* Takes back what the search counted of a page, with its record, if that is there still: the charge
 * was under way when the page was found, and is counted now, or its end had come. Answers whether
 * it was there. */
static __always_inline bool forget_before(u64 page)
{
	struct charge before;

	if (!close_found_record(page, &before))
		return false; /* there is none, or another CPU ended it, and counted its end */
	count_before(&before, site_at_end(&before), -(1LL << before.order));
	return true;
}

/* The sums come last: what holds nothing by them user space may forget. */
static __always_inline void count_end(struct charge *charge, u64 count, u64 lost)
{
	struct site *site = site_at_end(charge);

	if (SELDOM(charge->flags & CHARGE_TIMED)) {
		struct totals *totals = find_totals(charge->owner.cgroup);

		if (totals)
			count_latency(&totals->lifetime, bpf_ktime_get_ns() - charge->time);
	}
	if (!site)
		return;
	if (SELDOM(lost))
		__sync_fetch_and_add(&site->lost, lost);
	__sync_fetch_and_add(&site->uncharged, count - lost);
}

/* Takes out the record of a page that is to have another one, unless it is of a charge after
 * `time`: what ended its charge was missed. Its bit is clear where the page was a part of a larger
 * block since, whose end cleared the bits of all. Answers whether it was taken, for its end to be
 * counted by count_stale(). */
static __always_inline bool take_stale(u64 page, u64 time, struct charge *stale)
{
	struct place place = {};
	struct charge *found = find_record(page, &place), one;
	int error;

	if (!found || found->time > time)
		return false;
	one = *found;
	error = close_record(page, &place);
	if (SELDOM(error)) {
		if (error != NO_ENTRY)
			lose(LOSS_PAGES_BUSY, 1);
		return false;
	}
	*stale = one;
	return true;
}

/* One that the search opened may be of this charge, under way then: nothing was missed. */
static __always_inline void count_stale(struct charge *stale)
{
	u64 count = 1ULL << (stale->order & 15);

	if (!(stale->flags & CHARGE_BEFORE))
		lose(LOSS_HEALED, count);
	count_end(stale, count, 0);
}

/* A block that is not followed. Records of its pages that what was missed left open are not to be
 * taken for theirs, should it be split. */
static __always_inline void leave_block(u64 page, u32 order)
{
	if (SELDOM(order))
		track(page, order, NOT_TRACKED);
}

/* Opens the record of a page that bears the mark, which was read; answers which cgroup it is
 * charged to, 0 where it is not charged or not followed. `time` is when the charge began, 0
 * where only its end was seen, just now: what was missed since, such as the exit of an earlier
 * charge, whose entry this exit then took for its own, may explain a finding away. */
static __always_inline u64 begin_charge(void *ctx, u64 page, u64 mark, u32 order, u32 flags,
					s32 stack, u64 time)
{
	struct charge charge = {.time = time, .order = order, .flags = flags}, stale;
	struct totals *totals;
	struct site *site;
	u64 count = 1ULL << order;
	int error;
	/* Asked first: what it found by then has its bit by now. */
	bool through = search_is_through();

	if (SELDOM(!is_mark(mark) || !owner_from(owner_beside(page, mark), &charge.owner)) ||
	    !in_subtree(charge.owner.memcg)) {
		end_unfollowed(page);
		leave_block(page, order);
		return 0;
	}
	fetch_bucket(page);
	set_unfollowed(page, true);
	if (SELDOM(is_from_before(page)))
		forget_before(page);
	site = site_of(ctx, &charge, stack);
	if (SELDOM(!site)) {
		leave_block(page, order);
		return 0;
	}
	if (SELDOM(charges_another())) {
		charge.flags |= CHARGE_REMOTE;
		exempt(EXEMPT_REMOTE);
	}
	if (time)
		charge.flags |= CHARGE_TIMED;
	else /* after the stack walk, which is no part of the page's life */
		take_time(&charge);
	error = put_record(page, &charge);
	if (SELDOM(error == HAS_RECORD)) {
		if (take_stale(page, ~0ULL, &stale))
			count_stale(&stale);
		error = put_record(page, &charge);
	}
	if (SELDOM(error)) {
		lose(LOSS_PAGES_FULL, 1);
		leave_block(page, order);
		return charge.owner.cgroup;
	}
	if (SELDOM(!through) && has_found_record_too(page))
		forget_before(page);
	track(page, order, TRACKED);
	end_unfollowed(page);
	if (SELDOM(order)) /* what became of its pages when they were another's */
		set_unfollowed_block(page, order, false);
	__sync_fetch_and_add(&site->charged, count);
	totals = flags & CHARGE_EXPLICIT ? find_totals(charge.owner.cgroup) : 0;
	if (totals)
		__sync_fetch_and_add(&totals->explicit, count);
	return charge.owner.cgroup;
}

#endif
