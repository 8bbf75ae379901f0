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
	u32 at = key * RECORD_MIX >> 32 & (CALL_BUCKETS - 1);

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

static __always_inline bool claim(struct call_bucket *bucket, u32 way, u64 had, u64 key)
{
	return !(had & RECORD_TAKEN) &&
	       __sync_val_compare_and_swap(&bucket->key[way], had, key | RECORD_TAKEN) == had;
}

/* Claims a place; answers RECORD_WAYS where other CPUs were first each time. */
static __always_inline u32 claim_place(struct call_bucket *bucket, u64 key)
{
	u32 way = way_of(bucket->key, key);

	/* Its last exit was missed. */
	if (key_in(bucket->key, way) == key && claim(bucket, way, key, key))
		return way;
	NO_UNROLL
	for (u32 i = 0; i < 2; i++) {
		way = way_of(bucket->key, 0);
		if (claim(bucket, way, 0, key))
			return way;
	}
	way = oldest_call(bucket);
	return claim(bucket, way, key_in(bucket->key, way), key) ? way : RECORD_WAYS;
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
	asm volatile("" ::: "memory"); /* x86 keeps the order of stores */
	*(volatile u64 *)&bucket->key[way] = key;
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
	return key_in(bucket->key, way) == key &&
	       __sync_val_compare_and_swap(&bucket->key[way], key, 0) == key;
}
#endif
#endif

#endif
