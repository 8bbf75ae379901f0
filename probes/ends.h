/* SPDX-License-Identifier: GPL-2.0-only */
/* How a record of the ledger ends: whole, or in parts after a split. */
#ifndef KMEMTRACE_ENDS_H
#define KMEMTRACE_ENDS_H

#include "basics.h"
#include "charges.h"
#include "exempt.h"
#include "memcg.h"
#include "pages.h"
#include "sums.h"
#include "unfollowed.h"
#include "verdicts.h"

/* The record that covers a page: its own, or after a split its block's. */
static __always_inline u64 record_of(u64 page, struct charge *charge, struct place *place)
{
	NO_UNROLL
	for (u32 order = 0; order <= MAX_ORDER; order++) {
		u64 head = block_head(page, order);
		struct charge *found = find_record(head, place);

		if (found && found->order >= order) {
			*charge = *found;
			return head;
		}
	}
	return 0;
}

/* Whether a record of at least that order covers a page beside its own, as of a later charge of a
 * block that it is a part of: one of both is stale then. Asked of findings only. */
static __always_inline bool is_covered(u64 page, u32 least_order)
{
	NO_UNROLL
	for (u32 order = least_order; order <= MAX_ORDER; order++) {
		struct charge *found = record_of_page(block_head(page, order));

		if (found && found->order >= order)
			return true;
	}
	return false;
}

/* A part of a block was freed: what is left becomes blocks of their own, as
 * the buddy allocator would cut them. Answers how many pages have no record now: their charge
 * counts as ended, for nothing will tell when it does. */
static __always_inline u64 keep_rest(u64 page, u32 order, struct charge *charge)
{
	struct charge stale;
	u32 whole = charge->order;
	bool took = false;
	u64 dropped = 0;

	NO_UNROLL
	for (u32 i = 0, cut = order; i < MAX_ORDER && cut < whole; i++, cut++) {
		u64 buddy = block_head(page, cut) ^ (1ULL << (STRUCT_PAGE_SHIFT + cut));
		int error;

		charge->order = cut;
		error = put_record(buddy, charge);
		if (SELDOM(error == HAS_RECORD)) {
			/* One is counted, below: to count each here took the verifier six times
			 * as long. */
			if (SELDOM(took))
				lose(LOSS_PAGES_BUSY, 1);
			took |= take_stale(buddy, charge->time, &stale);
			error = put_record(buddy, charge);
		}
		if (!error)
			continue;
		if (error != HAS_RECORD)
			lose(LOSS_PAGES_FULL, 1);
		dropped += 1ULL << cut;
	}
	if (SELDOM(took))
		count_stale(&stale);
	return dropped;
}

/* Which pages a finding is the end of. Of a block that was not split the head alone bears the mark:
 * when a part without it goes, or the head is uncharged for less, no other page of it can be
 * uncharged any more. A part that bears a mark shows that the block was split, unseen: its others
 * go their own way. */
static __always_inline bool ends_block(u32 what, struct charge *charge, struct ending *ending,
				       bool uncharged)
{
	if (charge->flags & CHARGE_SPLIT || ending->order >= charge->order)
		return false;
	if (what == MISMATCH_SIZE_MISMATCH && ending->page != ending->head && uncharged) {
		charge->flags |= CHARGE_SPLIT;
		return false;
	}
	return what == MISMATCH_SIZE_MISMATCH ||
	       (what == MISMATCH_LOST_UNCHARGE && ending->end == END_HEALED);
}

/* What a finding costs that ends so many pages of a record. */
static __always_inline void weigh(struct charge *charge, struct ending *ending, u32 count,
				  bool marked, bool uncharged)
{
	u32 off = uncharged ? 1U << ending->order : 0, own = off < count ? off : count;

	if (marked && ending->owner != charge->owner.objcg)
		own = 0;
	ending->lost = count - own;
	ending->taken = off - own;
}

/* One finding tells of the whole block: what becomes of its other pages is no news. But its head,
 * which bears the mark still, can be uncharged yet. Answers how many pages end with it. */
static __always_inline u32 end_block(u64 head, struct charge *charge, bool keeps_head)
{
	u32 order = charge->order, count = 1U << order;
	bool kept;

	track(head, order, NOT_TRACKED);
	set_unfollowed_block(head, order, true);
	if (!keeps_head)
		return count;
	charge->order = 0;
	kept = !put_record(head, charge);
	charge->order = order;
	if (!kept) {
		lose(LOSS_PAGES_FULL, 1);
		return count;
	}
	track(head, 0, TRACKED);
	end_unfollowed(head);
	return count - 1;
}

/* Of a page that is tracked and has no record. It may be from before the start: of another subtree
 * than the traced one, without room for a record, or freed while the search looked at it. */
static __always_inline void end_without_record(u64 page, u32 order, bool marked)
{
	struct owner owner = {};

	if (!is_from_before(page))
		lose(LOSS_UNMATCHED_FREE, 1);
	else if (marked && owner_of(page, &owner) && in_subtree(owner.memcg))
		exempt(EXEMPT_PREEXISTING);
	end_unfollowed(page);
	track(page, order, NOT_TRACKED);
}

/* Ends the record that covers a page, and judges how it ended. */
static __always_inline void end_charge(void *ctx, u64 page, u32 order, u32 end)
{
	struct charge charge = {};
	struct ending ending = {.page = page, .order = order, .end = end};
	u64 mark = mark_of(page);
	bool marked = is_mark(mark), uncharged, block;
	u32 what, count;
	struct place place = {};
	u64 dropped = 0;
	int error;

	ending.head = record_of(page, &charge, &place);
	if (SELDOM(!ending.head)) {
		end_without_record(page, order, marked);
		return;
	}
	error = close_record(ending.head, &place);
	if (SELDOM(error)) {
		/* No entry: another CPU ended it first, and counts it. Else the map was locked by
		 * what we interrupt (EBUSY from 5.11 on, mostly mended by 6.7's d35381aa73f7): the
		 * record is open still, and nothing that it leads to is judged. */
		if (error != NO_ENTRY) {
			lose(LOSS_PAGES_BUSY, 1);
			set_unfollowed(page, true);
		}
		return;
	}
	if (marked)
		ending.owner = owner_beside(page, mark);
	uncharged = is_uncharged(page, end, marked);
	what = verdict(&charge, &ending, marked, uncharged);
	block = ends_block(what, &charge, &ending, uncharged);
	if (SELDOM(block)) {
		count = end_block(ending.head, &charge,
				  page != ending.head && is_charged(ending.head));
	} else {
		if (order > charge.order)
			order = charge.order;
		count = 1U << order;
		/* Its pages may have been charged since, as a part of a larger block: that goes
		 * on without their bits. */
		if (end == END_SWEPT)
			set_unfollowed_block(page, order, true);
		track(page, order, NOT_TRACKED);
	}
	if (SELDOM(what != NR_MISMATCHES)) {
		if (is_covered(page, 0))
			charge.flags |= CHARGE_COVERED;
		weigh(&charge, &ending, count, marked, uncharged);
		report(ctx, what, &charge, &ending);
		charge.flags &= ~CHARGE_COVERED; /* its other pages may not be */
	} else if (charge.flags & CHARGE_ELSEWHERE) {
		ending.lost = count;
	}
	if (SELDOM(!block && order < charge.order))
		dropped = keep_rest(page, order, &charge);
	if (SELDOM(end == END_HEALED))
		lose(LOSS_HEALED, count);
	if (SELDOM(end == END_SWEPT))
		lose(LOSS_SWEPT, count);
	count_end(&charge, count + dropped, ending.lost);
}

#endif
