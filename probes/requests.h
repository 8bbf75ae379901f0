/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that user space runs itself (BPF_PROG_TEST_RUN), and no event: where
 * the page map is, the sweep, the search for pages charged before the start, a
 * look at records of slab objects and at their caches, and who we are.
 */
#ifndef KMEMTRACE_REQUESTS_H
#define KMEMTRACE_REQUESTS_H

#include "basics.h"
#include "charges.h"
#include "departures.h"
#include "ends.h"
#include "memcg.h"
#include "objects.h"
#include "pages.h"
#include "sums.h"

/*
 * inspect() and sweep(): a record whose page no longer bears its mark, although
 * it was not freed, is of a page that was taken out of kmem accounting in
 * place, or of a missed free. A mark is also gone for the moment between the
 * put path's uncharge and its free, so user space has sweep() end only what
 * inspect() has found unmarked twice.
 */
struct inspection {
	u64 page;
	u64 time; /* of the charge: tells a later charge of the same page apart */
	u64 cgroup; /* that was charged */
	u64 unmarked; /* out */
	u64 counted_to; /* out: the cgroup that it counts to now; 0: not known */
};

struct inspections {
	struct inspection looks[INSPECT_BATCH];
};

/* User space writes and reads them in place. */
BPF_F_TABLE("array", u32, struct inspections, inspections, INSPECT_BATCHES, BPF_F_MMAPABLE);

static __always_inline bool is_open(u64 page, u64 time)
{
	struct charge *charge = record_of_page(page);

	return charge && charge->time == time;
}

static __always_inline bool is_unmarked(u64 page, u64 time)
{
	return is_open(page, time) && !is_charged(page);
}

/* inspect(batch) */
int inspect(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = ctx->args[0];
	struct inspections *batch = inspections.lookup(&number);

	if (!batch)
		return 0;
	NO_UNROLL
	for (u32 i = 0; i < INSPECT_BATCH; i++) {
		struct inspection *look = &batch->looks[i];
		bool open = is_open(look->page, look->time);
		bool charged = open && is_charged(look->page);
		struct owner owner = {};

		if (charged)
			owner_of(look->page, &owner); /* where it is nobody's, `owner` stays 0 */
		/* Asked again, whether it is the same charge: the page can be freed meanwhile. */
		open = open && is_open(look->page, look->time);
		look->unmarked = open && !charged;
		look->counted_to = open ? owner.cgroup : 0;
	}
	return 0;
}

/* sweep(page, time) */
int sweep(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0];

	if (is_unmarked(page, ctx->args[1]))
		end_charge(ctx, page, MAX_ORDER, END_SWEPT);
	return 0;
}

BPF_ARRAY(page_map, u64, 1);

/* find_page_map(file): answers, in page_map, where struct page 0 is; or, without its symbol, where
 * any of them is, or that of the file with this descriptor. */
int find_page_map(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	u64 *found = page_map.lookup(&first);

	if (!found)
		return 0;
#ifdef OFF_TASK_STACK_AREA
	*found = read_u64(
		read_u64(read_u64(bpf_get_current_task() + OFF_TASK_STACK_AREA) + OFF_AREA_PAGES));
#elif defined(OFF_TASK_FILES)
	u64 files = read_u64(bpf_get_current_task() + OFF_TASK_FILES);
	u64 table = read_u64(read_u64(files + OFF_FILES_TABLE) + OFF_TABLE_FILES);
	u64 file = read_u64(table + 8 * ctx->args[0]);

	*found = read_u64(read_u64(file + OFF_FILE_MAPPING) + OFF_MAPPING_PAGE);
#elif defined(PAGE_MAP_AT)
	*found = read_u64(PAGE_MAP_AT);
#endif
	return 0;
}

/*
 * The search for pages charged before the start: find_charged() looks at a batch of struct pages
 * and sets bits, adopt() opens a record. Events go on meanwhile, so that a page may be freed, and
 * charged anew, between any two lines here: the bit comes first, from when on its end is seen; and
 * what then is not as it was is taken back. As ever, whoever deletes a record counts its end.
 */
struct search {
	u64 next; /* page */
	u64 count;
	u64 found[ADOPT_BATCH];
};

struct adoption {
	u64 records; /* that were opened, of ADOPT_RECORDS at most */
	u64 refused; /* pages without a record, for want of room */
};

BPF_ARRAY(searches, struct search, 1);
BPF_ARRAY(adoptions, struct adoption, 1);

static __always_inline u32 order_before(u64 page, struct charge *charge)
{
	if (read_u64(page + OFF_PAGE_FLAGS) >> PG_HEAD & 1)
		return read_u32(page + OFF_PAGE_ORDER) & 0xff;
	charge->flags |= CHARGE_OF_ANY_ORDER;
	return 0;
}

static __always_inline s32 stack_before(u64 page)
{
#ifdef PAGE_TYPE_TABLE
	if (read_u32(page + OFF_PAGE_TYPE) >> 24 == PAGE_TYPE_TABLE)
		return STACK_BEFORE_TABLE;
#endif
	return STACK_BEFORE;
}

/* adopt(page) */
int adopt(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0];
	struct charge charge = {.flags = CHARGE_BEFORE};
	u32 first = 0, order = order_before(page, &charge);
	struct adoption *adoption = adoptions.lookup(&first);
	struct site *site;

	if (!adoption || order > MAX_ORDER || !is_charged(page) || !is_from_before(page))
		return 0;
	track(page, order, FOUND);
	if (!owner_of(page, &charge.owner) || !in_subtree(charge.owner.memcg))
		return 0;
	if (adoption->records >= ADOPT_RECORDS) {
		adoption->refused += 1ULL << order;
		return 0;
	}
	charge.order = order;
	charge.time = bpf_ktime_get_ns();
	site = site_of(ctx, &charge, stack_before(page));
	if (!site)
		return 0;
	count_before(&charge, site, 1LL << order);
	if (!put_found_record(page, &charge)) { /* charged anew by now */
		count_before(&charge, site, -(1LL << order));
		return 0;
	}
	adoption->records += 1;
	/* Else its end came before its record, or with it. */
	if (!is_charged(page) || owner_word(page) != charge.owner.objcg || !is_from_before(page))
		forget_before(page);
	return 0;
}

/*
 * find_charged(first page): those of a batch that are charged and have no record; answers how many.
 * What lies beyond the machine's memory cannot be read, and so is not charged. The page goes
 * through a map because the verifier forgets there what it knows of it: else it would follow each
 * turn of the loop on its own.
 */
int find_charged(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct search *search = searches.lookup(&first);
	volatile u64 *next;

	if (!search)
		return 0;
	next = &search->next;
	*next = ctx->args[0];
	search->count = 0;
	NO_UNROLL
	for (u32 i = 0; i < ADOPT_BATCH; i++) {
		u64 page = *next;

		*next = page + (1ULL << STRUCT_PAGE_SHIFT);
		/* Some bear the mark, and name nobody. */
		if (is_charged(page) && owner_word(page) && !is_tracked(page)) {
			track(page, 0, FOUND);
			search->found[search->count & (ADOPT_BATCH - 1)] = page;
			search->count += 1;
		}
	}
	return search->count;
}

#ifdef WITH_OBJECTS
struct object_batch {
	u64 objects[OBJECT_BATCH];
};

BPF_ARRAY(object_batch, struct object_batch, 1);
BPF_ARRAY(inspected, u64, 1);

/*
 * Ends the records of those objects that have no entry, or another's: their free was not seen. How
 * far it has come goes through a map because the verifier forgets there what it knows of it: else
 * it would follow each turn of the loop on its own.
 */
int inspect_objects(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct object_batch *batch = object_batch.lookup(&first);
	volatile u64 *next = inspected.lookup(&first);

	if (!batch || !next)
		return 0;
	*next = 0;
	NO_UNROLL
	for (u32 i = 0; i < OBJECT_BATCH; i++) {
		u64 at = *next & (OBJECT_BATCH - 1), object = batch->objects[at];
		u64 cache = 0, objcg = 0;
		struct object *found = objects.lookup(&object);

		*next = at + 1;
		if (!found)
			continue;
		if (!entry_of(object, &cache, &objcg) || objcg != found->objcg ||
		    cache != found->key.cache)
			end_object(object, true);
	}
	return 0;
}

struct cache_told {
	u64 size;
	char name[CACHE_NAME];
};

BPF_ARRAY(cache_told, struct cache_told, 1);

/* describe_cache(cache) */
int describe_cache(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct cache_told *told = cache_told.lookup(&first);

	if (!told)
		return 0;
	told->size = read_u32(ctx->args[0] + OFF_CACHE_SIZE);
	told->name[0] = 0;
	bpf_probe_read_kernel_str(told->name, sizeof(told->name),
				  (void *)read_u64(ctx->args[0] + OFF_CACHE_NAME));
	return 0;
}
#endif

#ifdef WITH_DEPARTURES
/* Once, before anything is attached. */
int know_us(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	u64 *ours = our_process.lookup(&first);

	if (ours)
		*ours = read_u64(bpf_get_current_task() + OFF_TASK_GROUP_LEADER);
	return 0;
}
#endif

#endif
