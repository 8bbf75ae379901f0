/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is counted by cgroup, and by call site of a cgroup.
 *
 * The sums are in arrays, each in a place that the hash of its key tells, or in one of the next: to
 * find it there takes 10 ns, and 40 in a hash map. Who wants a place enters its number in a hash
 * map first, which of two CPUs lets one. Both may ask for the same key, and while user space gives
 * places back they may be let two of them: user space adds up what bears the same key
 * (kmemtrace/tracer/places.py).
 *
 * A page is counted once: at its call site or, where that is not told, at its cgroup. User space
 * adds those up as well.
 */
#ifndef KMEMTRACE_SUMS_H
#define KMEMTRACE_SUMS_H

#include "basics.h"
#include "losses.h"
#include "memcg.h"
#include "spread.h"

struct latency {
	u64 ns;
	u64 counts[HISTOGRAM_BUCKETS];
};

struct site {
	u64 charged; /* base pages, as everywhere */
	u64 uncharged;
	u64 lost; /* ended, and on the counter for good: of findings, certain or not */
};

struct totals {
	struct site own; /* of what is counted at no call site */
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

/* Of two words, each of which is read whole: half a key is no other's. */
struct site_key {
	u64 cgroup;
	s32 stack;
	u32 taken; /* 1 */
};

BPF_F_TABLE("array", u32, u64, cgroup_keys, MAX_CGROUP_PLACES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct totals, cgroups, MAX_CGROUP_PLACES, BPF_F_MMAPABLE);
BPF_HASH(cgroup_claims, u32, u64, MAX_CGROUPS);
BPF_F_TABLE("array", u32, struct site_key, site_keys, MAX_SITE_PLACES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct site, sites, MAX_SITE_PLACES, BPF_F_MMAPABLE);
BPF_HASH(site_claims, u32, struct site_key, MAX_SITES);

#define IS_TAKEN (-17) /* EEXIST */

static __always_inline struct totals *find_totals(u64 cgroup)
{
	u32 place = spread(folded(cgroup), CGROUP_PLACES);

	NO_UNROLL
	for (u32 i = 0; i < PLACES_TRIED; i++, place++) {
		u32 at = place & (CGROUP_PLACES - 1);
		u64 *key = cgroup_keys.lookup(&at);

		if (key && *key == cgroup)
			return cgroups.lookup(&at);
	}
	return 0;
}

/* Of a cgroup that has none; null, and counted, where there is no room. */
static __always_inline struct totals *new_totals(u64 cgroup)
{
	u32 place = spread(folded(cgroup), CGROUP_PLACES);

	NO_UNROLL
	for (u32 i = 0; i < PLACES_TRIED; i++, place++) {
		u32 at = place & (CGROUP_PLACES - 1);
		u64 *key = cgroup_keys.lookup(&at), *claimed;
		int error;

		if (!key)
			break;
		if (*key)
			continue;
		error = cgroup_claims.insert(&at, &cgroup);
		if (!error) {
			*key = cgroup;
			return cgroups.lookup(&at);
		}
		if (error != IS_TAKEN)
			break;
		claimed = cgroup_claims.lookup(&at);
		if (claimed && *claimed == cgroup) /* by another CPU, just now */
			return cgroups.lookup(&at);
	}
	lose(LOSS_CGROUPS_FULL, 1);
	return 0;
}

static __always_inline struct totals *totals_of(u64 cgroup)
{
	struct totals *totals = find_totals(cgroup);

	return totals ? totals : new_totals(cgroup);
}

/* For what is no charge: after a cgroup's removal the kernel still moves its sums about
 * (MEMCG_KMEM, as its last slab pages go). That must not bring back one that has been told for the
 * last time. */
static __always_inline struct totals *totals_of_memcg(u64 memcg)
{
	u64 cgroup = kernfs_id(cgroup_of(memcg));

	return is_online(memcg) ? totals_of(cgroup) : find_totals(cgroup);
}

static __always_inline bool is_same_site(struct site_key *one, struct site_key *other)
{
	return one->cgroup == other->cgroup && one->stack == other->stack &&
	       one->taken == other->taken;
}

static __always_inline u32 first_site_place(struct site_key *key)
{
	return spread(folded(key->cgroup + (u64)(u32)key->stack * MIX), SITE_PLACES);
}

static __always_inline struct site *find_site(struct site_key *key)
{
	u32 place = first_site_place(key);

	NO_UNROLL
	for (u32 i = 0; i < PLACES_TRIED; i++, place++) {
		u32 at = place & (SITE_PLACES - 1);
		struct site_key *found = site_keys.lookup(&at);

		if (found && is_same_site(found, key))
			return sites.lookup(&at);
	}
	return 0;
}

/* As new_totals(). */
static __always_inline struct site *new_site(struct site_key *key)
{
	u32 place = first_site_place(key);

	NO_UNROLL
	for (u32 i = 0; i < PLACES_TRIED; i++, place++) {
		u32 at = place & (SITE_PLACES - 1);
		struct site_key *found = site_keys.lookup(&at), *claimed;
		int error;

		if (!found)
			break;
		if (found->cgroup)
			continue;
		error = site_claims.insert(&at, key);
		if (!error) {
			*found = *key;
			return sites.lookup(&at);
		}
		if (error != IS_TAKEN)
			break;
		claimed = site_claims.lookup(&at);
		if (claimed && is_same_site(claimed, key))
			return sites.lookup(&at);
	}
	lose(LOSS_SITES_FULL, 1);
	return 0;
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

#endif
