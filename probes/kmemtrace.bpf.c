// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every tier has: raw tracepoints. Raw ones, because a classic
 * tracepoint's programs share one recursion guard per CPU and so miss more.
 * The function probes of the other tiers are in functions.h.
 */
#include "ends.h"
#include "lives.h"
#include "departures.h"
#include "functions.h"
#include "objects.h"

/* Without a probe on the charge, a refused one shows only in an accounted allocation that gave
 * nothing while a limit was reached. */
static __always_inline void allocated_nothing(u32 order)
{
#ifndef WITH_CHARGE
	u64 memcg = current_memcg();
	struct totals *totals;

	if (!charge_would_fail(memcg, 1ULL << order) || !in_subtree(memcg))
		return;
	totals = totals_of_memcg(memcg);
	if (totals)
		__sync_fetch_and_add(&totals->failed, 1);
#endif
}

/*
 * mm_page_alloc(page, order, gfp, migratetype): the charge is inside the
 * allocator, so the mark is already readable here.
 *
 * An allocation that is not accounted has left by now, although it could tell
 * that the page's record is open by mistake: to look cost every allocation
 * 17 to 20 ns, for the filter is seldom in the CPU's caches by then. The sweep
 * finds such a record at the next snapshot.
 */
static __always_inline void allocated(void *ctx, u64 page, u32 order)
{
	if (!page) {
		allocated_nothing(order);
		return;
	}
	if (order > MAX_ORDER)
		return;
	if (is_tracked(page)) {
#ifdef WITH_CHARGE
		if (is_charged(page))
			return; /* its charge opened the record just now */
#endif
		end_charge(ctx, page, order, END_HEALED); /* its free was missed */
	}
	if (is_charged(page))
		begin_charge(ctx, page, order, 0, STACK_HERE, 0);
#ifdef JUDGE_UNCHARGED_ALLOC
	else
		judge_unmarked(ctx, page, order);
#endif
}

#ifdef CLASSIC_ALLOC
/* The record of the classic tracepoint, whose program is not preempted from 7.0 on, as a raw one's
 * is (kmemtrace/kernel/preemption.py). */
struct alloc_record {
	u64 common;
	u64 frame; /* all ones: no page */
	u32 order;
	u64 gfp;
};

int page_alloc(struct alloc_record *ctx)
{
	u64 frame = ctx->frame;

	if (!(ctx->gfp & GFP_ACCOUNT))
		return 0;
	allocated(ctx, ~frame ? read_u64(PAGE_MAP_AT) + (frame << STRUCT_PAGE_SHIFT) : 0,
		  ctx->order);
	return 0;
}
#else
int page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[2] & GFP_ACCOUNT)
		allocated(ctx, ctx->args[0], ctx->args[1]);
	return 0;
}
#endif

/*
 * mm_page_free(page, order): stands at the top of free_pages_prepare, which
 * is inlined. A direct free still bears its mark here; after the put path,
 * which uncharges first, it is gone.
 */
int page_free(struct bpf_raw_tracepoint_args *ctx)
{
	u64 page = ctx->args[0];
	u32 order = ctx->args[1];

	if (!is_tracked(page))
		return 0;
#ifdef WITH_UNCHARGE
	/* Directly freed: the function that uncharges it comes next, and ends it. */
	if (is_charged(page)) {
		struct charge *charge = pages.lookup(&page);

		if (!charge)
			return 0;
		/* The uncharge of an earlier free was missed: it is a later charge's mark. */
		if (charge->flags & CHARGE_FREEING)
			charge->flags |= CHARGE_FREED_BEFORE;
		charge->flags |= CHARGE_FREEING;
		return 0;
	}
#endif
	if (order <= MAX_ORDER)
		end_charge(ctx, page, order, END_FREE);
	return 0;
}

#ifdef PROGRAM_memcg_state
/* mod_memcg_state(memcg, item, val): val is an int up to 6.18 and arrives
 * zero-extended, a long from 7.2 on. */
int memcg_state(struct bpf_raw_tracepoint_args *ctx)
{
	u64 memcg = ctx->args[0];
	struct totals *totals;

	if ((u32)ctx->args[1] != MEMCG_KMEM || !in_subtree(memcg))
		return 0;
	totals = totals_of_memcg(memcg);
	if (totals)
		__sync_fetch_and_add(&totals->kernel, (s64)(MEMCG_STATE_VAL)ctx->args[2]);
	return 0;
}
#endif

/*
 * mm_vmscan_memcg_reclaim_begin and _end: the current task frees memory of a
 * cgroup at its limit before its charge goes on. Whose memory it frees only
 * 7.2 tells; who waits is the question here, and is the current task.
 */
BPF_HASH(stalled, u64, u64, MAX_STALLED);

int reclaim_begin(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = bpf_get_current_task(), now = bpf_ktime_get_ns();

	if (stalled.update(&task, &now))
		lose(LOSS_STALLED_FULL, 1);
	return 0;
}

int reclaim_end(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = bpf_get_current_task(), memcg;
	u64 *begin = stalled.lookup(&task);
	struct totals *totals;
	u64 ns;

	if (!begin)
		return 0;
	ns = bpf_ktime_get_ns() - *begin;
	stalled.delete(&task);
	memcg = current_memcg();
	if (!in_subtree(memcg))
		return 0;
	totals = totals_of_memcg(memcg);
	if (!totals)
		return 0;
	__sync_fetch_and_add(&totals->stalls, 1);
	__sync_fetch_and_add(&totals->stall_ns, ns);
	return 0;
}

int cgroup_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	end_life(ctx->args[0], ctx->args[1]);
	return 0;
}

/* When a process last changed cgroups: what it allocated about then may have been charged, or not,
 * by where it was before. */
BPF_TABLE("lru_hash", u64, u64, moves, MAX_MOVES);

/* cgroup_attach_task(cgroup, path, task, threadgroup): the task has moved by now. */
int cgroup_attach(struct bpf_raw_tracepoint_args *ctx)
{
	u64 tgid = read_u32(ctx->args[2] + OFF_TASK_TGID), now = bpf_ktime_get_ns();

	moves.update(&tgid, &now);
	depart(ctx->args[2], ctx->args[0], ctx->args[1]);
	return 0;
}

#ifdef WITH_SWEEP
/*
 * The last two are run by user space (BPF_PROG_TEST_RUN), not by an event: a
 * record whose page no longer bears its mark, although it was not freed, is of
 * a page that was taken out of kmem accounting in place, or of a missed free.
 * A mark is also gone for the moment between the put path's uncharge and its
 * free, so user space ends only what it has found unmarked twice.
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

BPF_ARRAY(inspections, struct inspections, 1);

static __always_inline bool is_open(u64 page, u64 time)
{
	struct charge *charge = pages.lookup(&page);

	return charge && charge->time == time;
}

static __always_inline bool is_unmarked(u64 page, u64 time)
{
	return is_open(page, time) && !is_charged(page);
}

/* Asked again afterwards, whether it is still the same charge: the page can be freed meanwhile. */
static __always_inline u64 counted_to(u64 page, u64 time)
{
	struct owner owner = {};

	if (!is_open(page, time) || !is_charged(page) || !owner_of(page, &owner))
		return 0;
	return is_open(page, time) ? owner.cgroup : 0;
}

int inspect(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct inspections *batch = inspections.lookup(&first);

	if (!batch)
		return 0;
	for (u32 i = 0; i < INSPECT_BATCH; i++) {
		struct inspection *look = &batch->looks[i];

		look->unmarked = is_unmarked(look->page, look->time);
		look->counted_to = counted_to(look->page, look->time);
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

#ifndef PAGE_MAP_AT
#define PAGE_MAP_AT 0
#endif

BPF_ARRAY(page_map, u64, 1);

/* Answers, in page_map, where struct page 0 is; or, without its symbol, where any of them is. */
int find_page_map(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	u64 *found = page_map.lookup(&first);

	if (!found)
		return 0;
#ifdef OFF_TASK_STACK_AREA
	*found = read_u64(
		read_u64(read_u64(bpf_get_current_task() + OFF_TASK_STACK_AREA) + OFF_AREA_PAGES));
#else
	*found = read_u64(PAGE_MAP_AT);
#endif
	return 0;
}

/*
 * The search for pages charged before the start, which user space runs: find_charged()
 * looks at a batch of struct pages and sets bits, adopt() opens a record. Events go on meanwhile,
 * so that a page may be freed, and charged anew, between any two lines here: the bit comes first,
 * from when on its end is seen; and what then is not as it was is taken back. As ever, whoever
 * deletes a record counts its end.
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
	struct totals *totals;
	struct site *site;

	if (!adoption || order > MAX_ORDER || !is_charged(page) || !is_from_before(page))
		return 0;
	track(page, order, FOUND);
	if (!owner_of(page, &charge.owner) || !in_subtree(charge.owner.memcg))
		return 0;
	totals = totals_of(charge.owner.cgroup);
	if (!totals)
		return 0;
	if (adoption->records >= ADOPT_RECORDS) {
		adoption->refused += 1ULL << order;
		return 0;
	}
	charge.order = order;
	charge.time = bpf_ktime_get_ns();
	site = site_of(ctx, &charge, stack_before(page));
	count_before(totals, site, 1LL << order);
	if (pages.insert(&page, &charge)) { /* charged anew by now */
		count_before(totals, site, -(1LL << order));
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
	UNROLL
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
#endif
