/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that may be charged without a record of ours, a bit per page as in
 * pages.h: those charged before the start, and those whose charge is under way
 * or was refused by a full map. Nothing that ends them is called a mismatch.
 *
 * Two arrays, because a bit may have one writer at a time only (track_word()):
 * `unfollowed` is written by who owns the page, `preexisting` by the scan.
 */
#ifndef KMEMTRACE_UNFOLLOWED_H
#define KMEMTRACE_UNFOLLOWED_H

#include "pages.h"

BPF_ARRAY(unfollowed, u64, (PAGE_INDEX_MASK + 1) >> WORD_ORDER);
BPF_ARRAY(preexisting, u64, (PAGE_INDEX_MASK + 1) >> WORD_ORDER);

static __always_inline void flip(u64 *word, u64 page, bool on)
{
	u64 bit = 1ULL << (page_index(page) & 63);

	if (!word)
		return;
	if (on)
		__sync_fetch_and_add(word, bit & ~*word);
	else
		__sync_fetch_and_add(word, -(bit & *word));
}

static __always_inline bool has_bit(u64 *word, u64 page)
{
	return word && (*word >> (page_index(page) & 63)) & 1;
}

static __always_inline void set_unfollowed(u64 page, bool on)
{
	u32 at = page_index(page) >> WORD_ORDER;

	flip(unfollowed.lookup(&at), page, on);
}

static __always_inline void set_preexisting(u64 page)
{
	u32 at = page_index(page) >> WORD_ORDER;

	flip(preexisting.lookup(&at), page, true);
}

/* Which bit was set, as the Exemption that it stands for, or NR_EXEMPTIONS; now neither is. */
static __always_inline u32 end_unfollowed(u64 page)
{
	u32 at = page_index(page) >> WORD_ORDER;
	u64 *refused = unfollowed.lookup(&at), *before = preexisting.lookup(&at);
	bool was_refused = has_bit(refused, page), was_before = has_bit(before, page);

	if (was_refused)
		flip(refused, page, false);
	if (was_before)
		flip(before, page, false);
	return was_refused ? EXEMPT_UNFOLLOWED : was_before ? EXEMPT_PREEXISTING : NR_EXEMPTIONS;
}

/* All pages of a block whose record ends before they do; or, at their next charge, not any more. */
static __always_inline void set_unfollowed_block(u64 head, u32 order, bool on)
{
	UNROLL
	for (u32 i = 0; i < 1 << (MAX_ORDER > WORD_ORDER ? MAX_ORDER - WORD_ORDER : 0); i++) {
		u32 at = (page_index(head) >> WORD_ORDER) + i;
		u64 *word = unfollowed.lookup(&at);
		u64 bits = ~0ULL;

		if (i && (order <= WORD_ORDER || i >> (order - WORD_ORDER)))
			break;
		if (order < WORD_ORDER)
			bits = ((1ULL << (1U << order)) - 1) << (page_index(head) & 63);
		if (word)
			__sync_fetch_and_add(word, on ? bits & ~*word : -(bits & *word));
	}
}

/* A block that was split: each of its pages may now be uncharged by itself. */
static __always_inline void split_unfollowed(u64 head, u32 order)
{
	u32 at = page_index(head) >> WORD_ORDER;

	if (order > MAX_ORDER)
		return;
	if (has_bit(unfollowed.lookup(&at), head) || has_bit(preexisting.lookup(&at), head))
		set_unfollowed_block(head, order, true);
}

#endif
