// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every tier has: raw tracepoints. Raw ones, because a classic
 * tracepoint's programs share one recursion guard per CPU and so miss more.
 * The function probes of the other tiers are in functions.h, what no event runs in requests.h.
 */
#include "basics.h"
#include "charges.h"
#include "departures.h"
#include "ends.h"
#include "functions.h"
#include "lives.h"
#include "memcg.h"
#include "objects.h"
#include "pages.h"
#include "requests.h"
#include "sums.h"
#include "verdicts.h"

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
 */
#ifdef CLASSIC_ALLOC
/* The record of the classic tracepoint, whose program is not preempted from 7.0 on, as a raw one's
 * is (kmemtrace/kernel/preemption.py). */
struct alloc_event {
	u64 common;
	u64 frame; /* all ones: no page */
	u32 order;
	u64 gfp;
};

static __always_inline u64 page_of_alloc(struct alloc_event *event)
{
	u64 frame = event->frame;

	return ~frame ? read_u64(PAGE_MAP_AT) + (frame << STRUCT_PAGE_SHIFT) : 0;
}

#define ORDER_OF_ALLOC(event) ((event)->order)
#define GFP_OF_ALLOC(event) ((event)->gfp)
#else
#define alloc_event bpf_raw_tracepoint_args
#define page_of_alloc(event) ((event)->args[0])
#define ORDER_OF_ALLOC(event) ((event)->args[1])
#define GFP_OF_ALLOC(event) ((event)->args[2])
#endif

/* Read each time it is asked for. By the end of a record the verifier has come to a dozen ranges of
 * it, and would follow what comes then with each of them: to load took three times as long. */
static __always_inline u32 order_of_alloc(struct alloc_event *event)
{
	return *(volatile u32 *)&ORDER_OF_ALLOC(event);
}

/*
 * An allocation that is not accounted has left by now, although it could tell
 * that the page's record is open by mistake: to look cost every allocation
 * 17 to 20 ns, for the filter is seldom in the CPU's caches by then. The sweep
 * finds such a record at the next snapshot.
 */
static __always_inline void allocated(struct alloc_event *event)
{
	u64 page = page_of_alloc(event), mark;
	u32 order = order_of_alloc(event);

	if (SELDOM(!page)) {
		allocated_nothing(order);
		return;
	}
	if (order > MAX_ORDER)
		return;
	mark = mark_of(page);
	if (SELDOM(is_tracked(page))) {
#ifdef WITH_CHARGE
		if (is_mark(mark))
			return; /* its charge opened the record just now */
#endif
		/* Its free was missed; but not if the search found it while it was being charged.
		 */
		if (!is_mark(mark) || !is_from_before(page) || !forget_before(page))
			end_charge(event, page, order, END_HEALED);
		order = order_of_alloc(event);
		if (order > MAX_ORDER)
			return;
	}
	if (MOSTLY(is_mark(mark)))
		begin_charge(event, page, mark, order, 0, STACK_HERE, 0);
#ifdef JUDGE_UNCHARGED_ALLOC
	else
		judge_unmarked(event, page, order);
#endif
}

int page_alloc(struct alloc_event *event)
{
	if (GFP_OF_ALLOC(event) & GFP_ACCOUNT)
		allocated(event);
	return 0;
}

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
		struct charge *charge = record_of_page(page);

		if (!charge)
			return 0;
		/* The uncharge of an earlier free was missed: it is a later charge's mark. */
		if (charge->flags & CHARGE_FREEING)
			charge->flags |= CHARGE_FREED_BEFORE;
		charge->flags |= CHARGE_FREEING;
		return 0;
	}
#endif
	if (MOSTLY(order <= MAX_ORDER))
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
