/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of probed functions that are under way: what the entry of each leaves for its exit.
 *
 * They are in buckets of four, as the records of pages are, and entered and taken out as those
 * (records.h): a third of what it takes in a hash map of the kernel. An exit that was missed leaves
 * its call there, until it is the oldest of a full bucket and gives way, as it does in the LRU map
 * that programs have where there is no compare-and-exchange.
 */
#ifndef KMEMTRACE_CALLS_H
#define KMEMTRACE_CALLS_H

#include "basics.h"
#include "records.h"

#if defined(WITH_CHARGE) || defined(WITH_ALLOC_LATENCY)
struct call {
	u64 time; /* of its entry */
	u64 page;
	u32 gfp;
	u32 order;
	s32 stack;
	u32 pad;
};

#ifndef CALL_BUCKETS
BPF_TABLE("lru_hash", u64, struct call, calls, MAX_CALLS);

static __always_inline void begin_call(u64 key, struct call *call)
{
	calls.update(&key, call);
}

/* The entry that belongs to this exit, copied out and forgotten; false where it was not seen. */
static __always_inline bool end_call(u64 key, struct call *call)
{
	struct call *found = calls.lookup(&key);

	if (!found)
		return false;
	*call = *found;
	calls.delete(&key);
	return true;
}
#else
struct call_bucket {
	u64 key[RECORD_WAYS]; /* 0: free */
	struct call call[RECORD_WAYS];
};

BPF_ARRAY(calls, struct call_bucket, CALL_BUCKETS);

static __always_inline struct call_bucket *bucket_of_call(u64 key)
{
	u32 at = spread(folded(key), CALL_BUCKETS);

	return calls.lookup(&at);
}

static __always_inline u32 oldest_call(struct call_bucket *bucket)
{
	u32 oldest = 0;

	EACH_WAY (way)
		if (bucket->call[way].time < bucket->call[oldest & (RECORD_WAYS - 1)].time)
			oldest = way;
	return oldest & (RECORD_WAYS - 1);
}

/* Claims a place; answers RECORD_WAYS where other CPUs were first each time. */
static __always_inline u32 claim_place(struct call_bucket *bucket, u64 key)
{
	u32 way = way_of(bucket->key, key);
	u64 had;

	/* Its last exit was missed. */
	if (key_in(bucket->key, way) == key && claim(bucket->key, way, key, key))
		return way;
	way = claim_free(bucket->key, key);
	if (way < RECORD_WAYS)
		return way;
	way = oldest_call(bucket);
	had = key_in(bucket->key, way);
	return !(had & RECORD_TAKEN) && claim(bucket->key, way, had, key) ? way : RECORD_WAYS;
}

/* Where it finds no place, its exit counts as one whose entry was not seen; and so does that of the
 * call that it takes the place of. */
static __always_inline void begin_call(u64 key, struct call *call)
{
	struct call_bucket *bucket = bucket_of_call(key);
	u32 way = bucket ? claim_place(bucket, key) : RECORD_WAYS;

	if (way >= RECORD_WAYS)
		return;
	bucket->call[way] = *call;
	open_place(bucket->key, way, key);
}

/* The entry that belongs to this exit, copied out and forgotten; false where it was not seen. */
static __always_inline bool end_call(u64 key, struct call *call)
{
	struct call_bucket *bucket = bucket_of_call(key);
	u32 way;

	if (!bucket)
		return false;
	way = way_of(bucket->key, key);
	*call = bucket->call[way];
	return close_place(bucket->key, way, key);
}
#endif
#endif

#endif
