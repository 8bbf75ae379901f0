/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that may be charged without a record of ours, a bit per page as in
 * pages.h: those whose charge is under way or was refused by a full map.
 * Nothing that ends them is called a mismatch.
 */
#ifndef KMEMTRACE_UNFOLLOWED_H
#define KMEMTRACE_UNFOLLOWED_H

#include "basics.h"
#include "pages.h"

#if defined(JUDGE_STRAY_UNCHARGE) || defined(JUDGE_LOST_UNCHARGE)
BPF_ARRAY(unfollowed, u64, (PAGE_INDEX_MASK + 1) >> WORD_ORDER);

static __always_inline void flip(u64 *word, u64 page, bool on)
{
	u64 bit = 1ULL << (page_index(page) & 63);

	if (!word)
		return;
	if (on)
		set_bits(word, bit);
	else
		clear_bits(word, bit);
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

/* Whether the bit was set; now it is not. */
static __always_inline bool end_unfollowed(u64 page)
{
	u32 at = page_index(page) >> WORD_ORDER;
	u64 *word = unfollowed.lookup(&at);
	bool was = has_bit(word, page);

	if (was)
		flip(word, page, false);
	return was;
}

/* All pages of a block whose record ends before they do; or, at their next charge, not any more. */
static __always_inline void set_unfollowed_block(u64 head, u32 order, bool on)
{
	NO_UNROLL
	for (u32 i = 0; i < 1 << (MAX_ORDER > WORD_ORDER ? MAX_ORDER - WORD_ORDER : 0); i++) {
		u32 at = (page_index(head) >> WORD_ORDER) + i;
		u64 *word = unfollowed.lookup(&at);
		u64 bits = ~0ULL;

		if (i && (order <= WORD_ORDER || i >> (order - WORD_ORDER)))
			break;
		if (order < WORD_ORDER)
			bits = ((1ULL << (1U << order)) - 1) << (page_index(head) & 63);
		if (word && on)
			set_bits(word, bits);
		else if (word)
			clear_bits(word, bits);
	}
}

/* A block that was split: each of its pages may now be uncharged by itself. */
static __always_inline void split_unfollowed(u64 head, u32 order)
{
	u32 at = page_index(head) >> WORD_ORDER;

	if (order > MAX_ORDER)
		return;
	if (has_bit(unfollowed.lookup(&at), head))
		set_unfollowed_block(head, order, true);
}

#else /* nothing asks */
static __always_inline void set_unfollowed(u64 page, bool on)
{
}

static __always_inline bool end_unfollowed(u64 page)
{
	return false;
}

static __always_inline void set_unfollowed_block(u64 head, u32 order, bool on)
{
}

static __always_inline void split_unfollowed(u64 head, u32 order)
{
}
#endif

#endif
