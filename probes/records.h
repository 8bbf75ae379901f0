/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records of charged pages, by page.
 *
 * They are in a table of our own, four to a bucket, where to open and close one takes a third of
 * what it takes in a hash map, which has those that a bucket has no room for. A record is opened by
 * putting its page into a free place, and closed by taking it out, each by one
 * compare-and-exchange: of all who close it one succeeds. Kernels before 5.12 (5ffa25502b5a) have
 * no such instruction for programs, and all records in the hash map.
 */
#ifndef KMEMTRACE_RECORDS_H
#define KMEMTRACE_RECORDS_H

#include "memcg.h"
#include "spread.h"

struct charge {
	struct owner owner; /* as of the charge: a later reparenting changes nothing */
	u64 time; /* CLOCK_MONOTONIC, ns */
	u16 order;
	u16 flags; /* CHARGE_* */
	s32 stack; /* STACK_UNKNOWN, or STACK_NO_SITE when `sites` has no entry for it */
};

/* What a map answers to the deletion of a key that it does not have, and to the insertion of one
 * that it has. */
#define NO_ENTRY (-2)
#define HAS_RECORD (-17)

BPF_HASH(pages, u64, struct charge, MAX_PAGES);

#ifndef RECORD_BUCKETS
struct place {};

static __always_inline struct charge *find_record(u64 page, struct place *place)
{
	return pages.lookup(&page);
}

static __always_inline int put_record(u64 page, struct charge *charge)
{
	return pages.insert(&page, charge);
}

static __always_inline bool put_found_record(u64 page, struct charge *charge)
{
	return !pages.insert(&page, charge);
}

static __always_inline int close_record(u64 page, struct place *place)
{
	return pages.delete(&page);
}

static __always_inline bool close_found_record(u64 page, struct charge *before)
{
	struct charge *found = pages.lookup(&page);

	if (!found || !(found->flags & CHARGE_BEFORE))
		return false;
	*before = *found;
	return !pages.delete(&page);
}

static __always_inline bool has_found_record_too(u64 page)
{
	return false;
}

static __always_inline void fetch_bucket(u64 page)
{
}
#else
#define BUCKETS_BESIDE 6 /* 1 << 6 of them */
#define RECORD_TAKEN 1 /* by one that is being written; no page's address is odd */

/* All pages first, for these are looked through. */
struct bucket {
	u64 page[RECORD_WAYS]; /* 0: free */
	struct charge charge[RECORD_WAYS];
};

BPF_F_TABLE("array", u32, struct bucket, records, MAX_BUCKETS, BPF_F_MMAPABLE);
BPF_ARRAY(overflown, u64, 1); /* how many are in `pages` */

#define EACH_WAY(way) _Pragma("unroll") for (u32 way = 0; way < RECORD_WAYS; way++)

/* Pages that lie side by side have theirs so, too: what is charged together is in few pages of the
 * table. */
static __always_inline struct bucket *bucket_of(u64 page)
{
	u64 frame = page >> STRUCT_PAGE_SHIFT;
	u32 first = spread(frame >> BUCKETS_BESIDE, RECORD_BUCKETS);
	u32 at = (first + (frame & ((1 << BUCKETS_BESIDE) - 1))) & (RECORD_BUCKETS - 1);

	return records.lookup(&at);
}

static __always_inline u64 key_in(u64 *keys, u32 way)
{
	return *(volatile u64 *)&keys[way];
}

/* 1 where they are the same, else 0; without a branch, which the verifier would follow to both
 * sides, for each place of a bucket: to load the programs took twice as long. */
static __always_inline u64 is_same(u64 one, u64 other)
{
	u64 differs = one ^ other, negative = -differs;

	asm volatile("" : "+r"(negative)); /* else clang makes a branch of it */
	return (differs | negative) >> 63 ^ 1;
}

/* By the four bits of who has a key, two bits each: the first that has it, 0 where none has. */
#define FIRST_OF_WAYS 0x12131210

/* The first place of a bucket that has such a key; 0 where there is none, which is to be looked at
 * again. */
static __always_inline u32 way_of(u64 *keys, u64 key)
{
	u64 has = 0;

	EACH_WAY (way)
		has |= is_same(key_in(keys, way), key) << way;
	asm volatile("" : "+r"(has)); /* else clang proves away what the verifier has to see */
	return FIRST_OF_WAYS >> 2 * (has & 15) & (RECORD_WAYS - 1);
}

/* How many places of a bucket have that key. */
static __always_inline u64 count_of(u64 *keys, u64 key)
{
	u64 count = 0;

	EACH_WAY (way)
		count += is_same(key_in(keys, way), key);
	return count;
}

/* Claims a place in which there was that; false where another CPU was first. */
static __always_inline bool claim(u64 *keys, u32 way, u64 had, u64 key)
{
	return __sync_val_compare_and_swap(&keys[way], had, key | RECORD_TAKEN) == had;
}

/* Claims a free place; answers RECORD_WAYS where there is none, or other CPUs were first twice. */
static __always_inline u32 claim_free(u64 *keys, u64 key)
{
	u32 way = way_of(keys, 0);

	if (MOSTLY(claim(keys, way, 0, key)))
		return way;
	way = way_of(keys, 0);
	return claim(keys, way, 0, key) ? way : RECORD_WAYS;
}

/* What was written to a claimed place is its key's from now on. */
static __always_inline void open_place(u64 *keys, u32 way, u64 key)
{
	asm volatile("" ::: "memory"); /* x86 keeps the order of stores */
	*(volatile u64 *)&keys[way] = key;
}

/* False where the place is another's, or who else closed it was first. */
static __always_inline bool close_place(u64 *keys, u32 way, u64 key)
{
	return key_in(keys, way) == key && __sync_val_compare_and_swap(&keys[way], key, 0) == key;
}

static __always_inline u64 *overflow(void)
{
	u32 first = 0;

	return overflown.lookup(&first);
}

/* Where a record was found. */
struct place {
	struct bucket *bucket;
	u32 way;
};

static __always_inline struct charge *find_record(u64 page, struct place *place)
{
	struct bucket *bucket = bucket_of(page);
	u64 *more;

	place->bucket = bucket;
	if (!bucket)
		return 0;
	place->way = way_of(bucket->page, page);
	if (MOSTLY(key_in(bucket->page, place->way) == page))
		return &bucket->charge[place->way];
	more = overflow();
	return more && *more ? pages.lookup(&page) : 0;
}

/* Has the CPU fetch what a record will mostly be written to, the first place, long before: what
 * claims it, and what sets the page's bit after it, waits until everything before is done. */
static __always_inline void fetch_bucket(u64 page)
{
	struct bucket *bucket = bucket_of(page);

	if (bucket) {
		(void)key_in(bucket->page, 0);
		(void)*(volatile s32 *)&bucket->charge[0].stack;
	}
}

/* Opens a record in its bucket; answers its place there, RECORD_WAYS where there is none. */
static __always_inline u32 take_place(struct bucket *bucket, u64 page, struct charge *charge)
{
	u32 way = claim_free(bucket->page, page);

	if (way >= RECORD_WAYS)
		return way;
	bucket->charge[way] = *charge;
	open_place(bucket->page, way, page);
	return way;
}

static __always_inline int put_among_more(u64 page, struct charge *charge)
{
	u64 *more = overflow();
	int error = pages.insert(&page, charge);

	if (!error && more)
		__sync_fetch_and_add(more, 1);
	return error;
}

/* Opens a record; answers HAS_RECORD where the page has one, another error where there is no
 * room. */
static __always_inline int put_record(u64 page, struct charge *charge)
{
	struct bucket *bucket = bucket_of(page);

	if (SELDOM(!bucket))
		return NO_ENTRY;
	if (SELDOM(count_of(bucket->page, page)))
		return HAS_RECORD;
	if (MOSTLY(take_place(bucket, page, charge) < RECORD_WAYS))
		return 0;
	return put_among_more(page, charge);
}

static __always_inline int close_among_more(u64 page)
{
	u64 *more = overflow();
	int error;

	if (!more || !*more)
		return NO_ENTRY;
	error = pages.delete(&page);
	if (!error)
		__sync_fetch_and_add(more, -1);
	return error;
}

/* Closes a record that was found; answers an error where who else closed it was first. */
static __always_inline int close_record(u64 page, struct place *place)
{
	if (MOSTLY(place->bucket && close_place(place->bucket->page, place->way, page)))
		return 0;
	return close_among_more(page);
}

/*
 * Opens a record for the search. Should the page be charged at the same time, two see no record of
 * it, and open one each. Both look again when they have taken a place: whichever took it later
 * sees the other's, and that of the search goes, here or by close_found_record().
 */
static __always_inline bool put_found_record(u64 page, struct charge *charge)
{
	struct bucket *bucket = bucket_of(page);
	struct place known;
	u32 place;

	if (!bucket || find_record(page, &known))
		return false;
	place = take_place(bucket, page, charge);
	if (place >= RECORD_WAYS) {
		if (put_among_more(page, charge))
			return false;
		return key_in(bucket->page, way_of(bucket->page, page)) != page ||
		       close_among_more(page);
	}
	place &= RECORD_WAYS - 1;
	/* Changes nothing; but until it is done, no load below is. */
	__sync_val_compare_and_swap(&bucket->page[place], page, page);
	EACH_WAY (way)
		if (way != place && (key_in(bucket->page, way) & ~(u64)RECORD_TAKEN) == page)
			return !close_place(bucket->page, place, page);
	return true;
}

/* Whether a page that was charged just now has a record of the search, too. */
static __always_inline bool has_found_record_too(u64 page)
{
	struct bucket *bucket = bucket_of(page);
	u64 *more = overflow();
	u64 count;

	if (!bucket || !more)
		return false;
	count = count_of(bucket->page, page);
	return count > 1 || (count && *more && pages.lookup(&page));
}

/* Closes the record that the search opened of a page, and copies it. */
static __always_inline bool close_found_record(u64 page, struct charge *before)
{
	struct bucket *bucket = bucket_of(page);
	struct charge *found;
	u64 *more = overflow();

	if (!bucket || !more)
		return false;
	EACH_WAY (way) {
		if (key_in(bucket->page, way) != page ||
		    !(bucket->charge[way].flags & CHARGE_BEFORE))
			continue;
		*before = bucket->charge[way];
		return close_place(bucket->page, way, page);
	}
	found = *more ? pages.lookup(&page) : 0;
	if (!found || !(found->flags & CHARGE_BEFORE))
		return false;
	*before = *found;
	return !close_among_more(page);
}
#endif

static __always_inline struct charge *record_of_page(u64 page)
{
	struct place place;

	return find_record(page, &place);
}

#endif
