/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages are tracked: two bits per page of the machine, side by side, so
 * that the two hottest events leave after one test of one array element. Array
 * look-ups are inlined by the verifier; a hash look-up on each free cost 200 ns
 * more.
 *
 * Two bits, because a bit may be set by one party only (track_word()): `charged`
 * by who is charged for the page, `before` by the search for pages that were
 * charged before the start. Whoever owns the page clears both.
 *
 * Constants that come from the Plan: STRUCT_PAGE_SHIFT (log2 of the size of
 * struct page), PAGE_INDEX_MASK (covers every page frame, so that no two
 * pages share a bit and the base address of the memory map is not needed).
 */
#ifndef KMEMTRACE_PAGES_H
#define KMEMTRACE_PAGES_H

#include "basics.h"

#define WORD_ORDER 6 /* 1 << 6 bits in a word */

struct tracked {
	u64 charged;
	u64 before;
};

BPF_ARRAY(tracked, struct tracked, (PAGE_INDEX_MASK + 1) >> WORD_ORDER);

static __always_inline u32 page_index(u64 page)
{
	return (page >> STRUCT_PAGE_SHIFT) & PAGE_INDEX_MASK;
}

/* First page of the aligned block of the given order that holds this page. */
static __always_inline u64 block_head(u64 page, u32 order)
{
	return page & ~((1ULL << (STRUCT_PAGE_SHIFT + order)) - 1);
}

static __always_inline struct tracked *tracked_beside(u64 page)
{
	u32 at = page_index(page) >> WORD_ORDER;

	return tracked.lookup(&at);
}

static __always_inline bool is_tracked(u64 page)
{
	struct tracked *words = tracked_beside(page);

	return words && ((words->charged | words->before) >> (page_index(page) & 63)) & 1;
}

/* Whether the search found it, and its charge has not ended since. */
static __always_inline bool is_from_before(u64 page)
{
	struct tracked *words = tracked_beside(page);

	return words && (words->before >> (page_index(page) & 63)) & 1;
}

/*
 * Sets or clears the bits of a block. The words are shared with other pages'
 * owners, so each change is one atomic add of exactly the bits that differ;
 * that is sound because a block's own bits are only changed by who owns it:
 * the task that just got it from the allocator, or that is giving it back.
 */
enum tracking {
	NOT_TRACKED,
	TRACKED, /* charged */
	FOUND, /* by the search: nobody else sets these bits */
};

static __always_inline void set_bits(u64 *word, u64 bits)
{
	__sync_fetch_and_add(word, bits & ~*word);
}

static __always_inline void clear_bits(u64 *word, u64 bits)
{
	if (bits & *word)
		__sync_fetch_and_add(word, -(bits & *word));
}

static __always_inline void track_word(u32 at, u64 bits, enum tracking how)
{
	struct tracked *words = tracked.lookup(&at);

	if (!words)
		return;
	if (how == FOUND) {
		set_bits(&words->before, bits);
		return;
	}
	if (how == TRACKED)
		set_bits(&words->charged, bits);
	else
		clear_bits(&words->charged, bits);
	clear_bits(&words->before, bits);
}

static __always_inline void track(u64 page, u32 order, enum tracking how)
{
	u32 index = page_index(page);
	u32 at = index >> WORD_ORDER;

	if (order < WORD_ORDER) {
		u64 bits = ((1ULL << (1U << order)) - 1) << (index & 63);

		track_word(at, bits, how);
		return;
	}
	NO_UNROLL
	for (u32 i = 0; i < 1 << (MAX_ORDER - WORD_ORDER); i++) {
		if (i >> (order - WORD_ORDER))
			break;
		track_word(at + i, ~0ULL, how);
	}
}

#endif
