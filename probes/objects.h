/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects of the slab, followed where that was asked for (WITH_OBJECTS); else none of this is
 * compiled.
 *
 * An object is accounted if its slab's vector of owners has an entry for it, which is set before
 * the tracepoint of its allocation, and cleared after that of its free. Objects come and go unseen
 * too (kmem_cache_free_bulk(), kfree_rcu() through it, kmem_cache_charge()): a record that the
 * vector no longer confirms is ended when user space looks (inspect_objects), or when the object is
 * handed out again. As with pages, whoever deletes a record counts its end.
 */
#ifndef KMEMTRACE_OBJECTS_H
#define KMEMTRACE_OBJECTS_H

#include "basics.h"
#include "charges.h"
#include "memcg.h"
#include "sums.h"

#ifdef WITH_OBJECTS
struct object_key {
	u64 cgroup;
	u64 cache; /* address of the struct kmem_cache, or, of a failed charge, the object's size */
	u64 call_site;
};

struct object {
	struct object_key key;
	u64 objcg;
};

struct object_sums {
	u64 charged;
	u64 freed;
	u64 failed;
};

BPF_HASH(objects, u64, struct object, MAX_OBJECTS);
BPF_HASH(object_sites, struct object_key, struct object_sums, MAX_OBJECT_SITES);

/*
 * How many records there are of objects in a page, so that the free of any other leaves after one
 * look into an array. Pages that share a number cost a look into the hash, and nothing else.
 */
BPF_ARRAY(object_pages, u32, OBJECT_PAGES);

static __always_inline u32 *records_beside(u64 object)
{
	u32 at = (object >> FRAME_SHIFT) & (OBJECT_PAGES - 1);

	return object_pages.lookup(&at);
}

static __always_inline void count_record(u64 object, u32 change)
{
	u32 *records = records_beside(object);

	if (records)
		__sync_fetch_and_add(records, change);
}

static __always_inline bool may_be_followed(u64 object)
{
	u32 *records = records_beside(object);

	return records && *records;
}

struct slab_page {
	u64 words[1 << (STRUCT_PAGE_SHIFT - 3)];
};

static __always_inline u64 field_of(struct slab_page *page, u32 offset)
{
	return page->words[offset / 8] >> 8 * (offset % 8);
}

/* Of the page that `word`, in place of its head, is of; up to 7.0 the head's address and 1, then
 * what the page's own has to be masked with. */
static __always_inline u64 head_of(u64 page, u64 word)
{
	return word >> 32 == 0xffffffff ? page & word : word - 1;
}

static __always_inline bool is_slab(struct slab_page *page)
{
#ifdef SLAB_PAGE_TYPE
	return (u32)field_of(page, OFF_PAGE_TYPE) >> 24 == SLAB_PAGE_TYPE;
#else
	return field_of(page, OFF_PAGE_FLAGS) >> SLAB_PAGE_BIT & 1;
#endif
}

/* Cache and owner of an object that is charged to one. */
static __always_inline bool entry_of(u64 object, u64 *cache, u64 *objcg)
{
	struct slab_page page = {};
	u64 at, word, vector, step, index;

	if (object < DIRECT_MAP)
		return false;
	at = PAGE_MAP + ((object - DIRECT_MAP) >> FRAME_SHIFT << STRUCT_PAGE_SHIFT);
	bpf_probe_read_kernel(&page, sizeof(page), (void *)at);
	word = field_of(&page, OFF_PAGE_HEAD);
	if (word & 1) {
		at = head_of(at, word);
		bpf_probe_read_kernel(&page, sizeof(page), (void *)at);
	}
	vector = field_of(&page, OFF_SLAB_VECTOR) & ~(u64)SLAB_VECTOR_FLAGS;
	if (!vector || !is_slab(&page))
		return false;
	*cache = field_of(&page, OFF_SLAB_CACHE);
	step = read_u32(*cache + OFF_CACHE_SIZE);
	if (!step)
		return false;
	index = object - DIRECT_MAP - ((at - PAGE_MAP) >> STRUCT_PAGE_SHIFT << FRAME_SHIFT);
	index /= step;
	word = field_of(&page, OFF_SLAB_COUNTERS);
	/* One of KFENCE's, whose pages bear the cache's name, lies at the end of its page. */
	if (index >= (word >> 16 & 0x7fff))
		return false;
#ifdef SLAB_STRIDE_BIT
	step = word >> SLAB_STRIDE_BIT & 0xffffffff;
#else
#ifdef SLAB_IN_OBJECTS_BIT
	if (!(word >> SLAB_IN_OBJECTS_BIT & 1))
#endif
		step = SLAB_ENTRY_SIZE;
#endif
	*objcg = read_u64(vector + index * step + OFF_ENTRY_OBJCG);
	return *objcg;
}

static __always_inline struct object_sums *object_sums_of(struct object_key *key)
{
	struct object_sums *sums = object_sites.lookup(key), none = {};

	if (sums)
		return sums;
	totals_of(key->cgroup); /* it has a row then, and a name when it is removed */
	object_sites.insert(key, &none);
	sums = object_sites.lookup(key);
	if (!sums)
		lose(LOSS_OBJECT_SITES_FULL, 1);
	return sums;
}

static __always_inline void end_object(u64 object, bool missed)
{
	struct object *found = objects.lookup(&object), ended;
	struct object_sums *sums;

	if (!found)
		return;
	ended = *found;
	if (objects.delete(&object))
		return;
	count_record(object, -1);
	sums = object_sites.lookup(&ended.key);
	if (sums)
		__sync_fetch_and_add(&sums->freed, 1);
	if (missed)
		lose(LOSS_OBJECTS_MENDED, 1);
}

static __always_inline void begin_object(u64 object, u64 call_site)
{
	struct object made = {.key.call_site = call_site};
	struct object_sums *sums;
	u64 memcg;

	if (!entry_of(object, &made.key.cache, &made.objcg))
		return;
	memcg = read_u64(made.objcg + OFF_ENTRY_MEMCG);
	if (!memcg || !in_subtree(memcg))
		return;
	if (may_be_followed(object))
		end_object(object, true);
	made.key.cgroup = kernfs_id(cgroup_of(memcg));
	sums = object_sums_of(&made.key);
	if (!sums)
		return;
	if (objects.update(&object, &made)) {
		lose(LOSS_OBJECTS_FULL, 1);
		return;
	}
	count_record(object, 1);
	__sync_fetch_and_add(&sums->charged, 1);
}

/* An accounted allocation that gave nothing: refused at a limit, if one is reached. Its bytes, or 0
 * where the event does not tell them, and with them the owner's pointer, are charged by whole pages
 * (obj_cgroup_charge()). */
static __always_inline void refused_object(u64 call_site, u64 cache, u64 bytes)
{
	struct object_key key = {.cache = cache, .call_site = call_site};
	u64 memcg = current_memcg();
	struct object_sums *sums;

	if (!charge_would_fail(memcg, 1 + (bytes >> FRAME_SHIFT)) || !in_subtree(memcg))
		return;
	key.cgroup = kernfs_id(cgroup_of(memcg));
	sums = object_sums_of(&key);
	if (sums)
		__sync_fetch_and_add(&sums->failed, 1);
}

/*
 * Which caches have all of their objects accounted, as last read: a cache's address, with bit 0 set
 * where it has. To read it of the cache itself cost every allocation 50 ns. User space forgets it
 * all now and then, for a cache may be destroyed and another made at its address.
 */

struct caches_known {
	u64 caches[CACHES_KNOWN];
};

BPF_ARRAY(caches_known, struct caches_known, 1);

static __always_inline bool is_accounted(u64 cache)
{
	u32 first = 0, at = (cache >> 6 ^ cache >> 14) & (CACHES_KNOWN - 1);
	struct caches_known *known = caches_known.lookup(&first);
	bool accounted;
	u64 noted;

	if (!known)
		return true; /* the vector says */
	noted = *(volatile u64 *)&known->caches[at]; /* once: another CPU may write it */
	if ((noted & ~1ULL) == cache)
		return noted & 1;
	accounted = read_u32(cache + OFF_CACHE_FLAGS) & SLAB_ACCOUNT;
	known->caches[at] = cache | accounted;
	return accounted;
}

/* kmem_cache_alloc(call_site, object, ...). Where the tracepoint does not tell the cache
 * (before 6.0), the vector alone says whether it is accounted; of one that was not given only the
 * flags, which few ask with of a cache of accounted objects: for such a refusal is not seen. */
static __always_inline int allocated_object(u64 object, u64 call_site, u32 gfp, u64 cache,
					    u64 bytes)
{
	if (cache && !(gfp & GFP_ACCOUNT) && !is_accounted(cache))
		return 0;
	if (object)
		begin_object(object, call_site);
	else if (cache || gfp & GFP_ACCOUNT)
		refused_object(call_site, cache ? cache : bytes, bytes);
	return 0;
}

/* kmalloc(call_site, object, ...): what is larger than LARGEST_OBJECT are pages, which the page
 * allocator's events tell. */
static __always_inline int allocated_bytes(u64 object, u64 call_site, u32 gfp, u64 bytes)
{
	if (!(gfp & GFP_ACCOUNT) || bytes > LARGEST_OBJECT)
		return 0;
	if (object)
		begin_object(object, call_site);
	else
		refused_object(call_site, bytes, bytes);
	return 0;
}

#define ARGUMENT(event, name) (ctx->args[ARG_##event##_##name])

#ifdef ARG_OBJECT_ALLOC_CACHE
#define CACHE_OF(event) ARGUMENT(event, CACHE)
#define BYTES_OF(event) 0
#else
#define CACHE_OF(event) 0
#define BYTES_OF(event) ARGUMENT(event, BYTES)
#endif

int object_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return allocated_object(ctx->args[1], ctx->args[0], ARGUMENT(OBJECT_ALLOC, GFP),
				CACHE_OF(OBJECT_ALLOC), BYTES_OF(OBJECT_ALLOC));
}

int object_kmalloc(struct bpf_raw_tracepoint_args *ctx)
{
	return allocated_bytes(ctx->args[1], ctx->args[0], ARGUMENT(OBJECT_KMALLOC, GFP),
			       ARGUMENT(OBJECT_KMALLOC, BYTES));
}

#ifdef PROGRAM_object_alloc_node
int object_alloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return allocated_object(ctx->args[1], ctx->args[0], ARGUMENT(OBJECT_ALLOC_NODE, GFP),
				CACHE_OF(OBJECT_ALLOC_NODE), BYTES_OF(OBJECT_ALLOC_NODE));
}
#endif

#ifdef PROGRAM_object_kmalloc_node
int object_kmalloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return allocated_bytes(ctx->args[1], ctx->args[0], ARGUMENT(OBJECT_KMALLOC_NODE, GFP),
			       ARGUMENT(OBJECT_KMALLOC_NODE, BYTES));
}
#endif

/* kmem_cache_free(call_site, object, ...) and kfree(call_site, object) */
static __always_inline int freed_object(u64 object)
{
	if (may_be_followed(object))
		end_object(object, false);
	return 0;
}

int object_free(struct bpf_raw_tracepoint_args *ctx)
{
	return freed_object(ctx->args[1]);
}

int object_kfree(struct bpf_raw_tracepoint_args *ctx)
{
	return freed_object(ctx->args[1]);
}
#endif

#endif
