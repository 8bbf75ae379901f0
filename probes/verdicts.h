/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which end of a charge breaks the promise, and the evidence of it. A finding
 * is a fact about one page; how sure it is (an event of that page may have been
 * missed) user space decides, which knows what was missed and when.
 */
#ifndef KMEMTRACE_VERDICTS_H
#define KMEMTRACE_VERDICTS_H

#include "basics.h"
#include "charges.h"
#include "exempt.h"
#include "memcg.h"
#include "unfollowed.h"

/* What ends a charge, or is found without one, and what that costs in pages. */
struct ending {
	u64 head; /* of the record */
	u64 page;
	u64 owner; /* word of who is charged for the page now; 0 where it bears no mark */
	u32 order; /* as the event says */
	u32 end; /* END_* */
	u32 lost; /* on the counter of whom they were charged to, for good */
	u32 taken; /* off a counter that they were never charged to */
};

struct finding {
	u64 head; /* first page charged; where there is no record, `page` */
	u64 page; /* first page of what the event is about */
	u64 time; /* CLOCK_MONOTONIC, ns */
	u64 charge_time; /* 0: no record */
	u64 charged_to; /* kernfs ids; 0: nobody, or not known */
	u64 uncharged_from;
	u32 tgid;
	s32 alloc_stack;
	s32 free_stack;
	u32 lost; /* as in struct ending */
	u32 taken;
	u16 order; /* as charged; where there is no record, as the event says */
	u16 end_order; /* as the event that ended it says */
	u16 flags; /* CHARGE_* */
	u8 what; /* MISMATCH_* */
	u8 end; /* END_* */
	u8 interrupt;
	u8 pad[3];
	char comm[16];
};

/* Every finding is counted here, also one that the ring has no room for. */
BPF_ARRAY(findings_seen, u64, NR_MISMATCHES);
BPF_RINGBUF_OUTPUT(findings, FINDINGS_PAGES);
/* Stays zero: of a ring buffer's records the compiler tells nobody how they are laid out. */
BPF_ARRAY(finding_layout, struct finding, 1);

/* NO_WAKEUP: user space looks at each snapshot; this runs in the allocator. */
static __always_inline void report(void *ctx, u32 what, struct charge *charge,
				   struct ending *ending)
{
	u64 *seen = findings_seen.lookup(&what);
	struct finding *finding;
	struct owner owner = {};
	s32 here;

	if (seen)
		__sync_fetch_and_add(seen, 1);
	finding = findings.ringbuf_reserve(sizeof(*finding));
	if (!finding)
		return;
	here = stack_of(ctx);
	finding->head = ending->head;
	finding->page = ending->page;
	finding->time = bpf_ktime_get_ns();
	finding->charge_time = charge->time;
	finding->charged_to = charge->owner.cgroup;
	finding->uncharged_from =
		is_charged(ending->page) && owner_of(ending->page, &owner) ? owner.cgroup : 0;
	finding->tgid = bpf_get_current_pid_tgid() >> 32;
	finding->alloc_stack = what == MISMATCH_UNCHARGED_ALLOC ? here : charge->stack;
	finding->free_stack = what == MISMATCH_UNCHARGED_ALLOC ? STACK_UNKNOWN : here;
	finding->order = charge->order;
	finding->end_order = ending->order;
	finding->lost = ending->lost;
	finding->taken = ending->taken;
	finding->flags = charge->flags;
	finding->what = what;
	finding->end = ending->end;
	finding->interrupt = in_interrupt(ctx);
	bpf_get_current_comm(finding->comm, sizeof(finding->comm));
	findings.ringbuf_submit(finding, BPF_RB_NO_WAKEUP);
}

#ifdef JUDGE_UNCHARGED_ALLOC
/* An accounted allocation whose page bears no mark. */
static __always_inline void judge_unmarked(void *ctx, u64 page, u32 order)
{
	struct charge charge = {.order = order, .stack = STACK_UNKNOWN};
	struct ending ending = {.head = page, .page = page, .order = order, .end = END_NONE};
	u32 why = why_uncharged(ctx);
	u64 memcg = current_memcg();

	if (why != NR_EXEMPTIONS) {
		exempt(why);
		return;
	}
	if (!in_subtree(memcg))
		return;
	charge.owner.cgroup = kernfs_id(cgroup_of(memcg));
	report(ctx, MISMATCH_UNCHARGED_ALLOC, &charge, &ending);
}
#endif

#ifdef JUDGE_STRAY_UNCHARGE
/* The uncharge of a page that bears the mark and has no record. */
static __always_inline void judge_stray(void *ctx, u64 page, u32 order)
{
	struct charge charge = {.order = order, .stack = STACK_UNKNOWN};
	struct ending ending = {
		.head = page,
		.page = page,
		.order = order,
		.end = END_UNCHARGE,
		.taken = 1U << order,
	};
	struct owner owner = {};
	u32 why = end_unfollowed(page) ? EXEMPT_UNFOLLOWED : NR_EXEMPTIONS;

	if (!owner_of(page, &owner) || !in_subtree(owner.memcg))
		return;
	if (why == NR_EXEMPTIONS && !search_is_through())
		why = EXEMPT_UNSEARCHED;
	if (why != NR_EXEMPTIONS) {
		exempt(why);
		return;
	}
	report(ctx, MISMATCH_STRAY_UNCHARGE, &charge, &ending);
}
#endif

/* Its cgroup was removed, and the objcg that it is charged to now stands for an ancestor. */
static __always_inline bool is_reparented(struct charge *charge)
{
#ifdef OFF_OBJCG_MEMCG
	return read_u64(charge->owner.objcg + OFF_OBJCG_MEMCG) != charge->owner.memcg;
#else
	return false;
#endif
}

/* Whether an event takes its page off a counter: a page that bears the mark is uncharged, and one
 * that is freed without it may have been before, in a batch (note_put()). */
static __always_inline bool is_uncharged(u64 page, u32 end, bool marked)
{
	if (end == END_HEALED || end == END_SWEPT)
		return false;
#ifdef JUDGE_LOST_UNCHARGE
	return marked || end_unfollowed(page);
#else
	return true; /* as far as can be told */
#endif
}

/* The class that the end of a record belongs to; NR_MISMATCHES where it is as it should be.
 * `marked`: whether the page still bore its mark. */
static __always_inline u32 verdict(struct charge *charge, struct ending *ending, bool marked,
				   bool uncharged)
{
	bool whole = ending->order == charge->order;
	u32 end = ending->end;

	if (end == END_SWEPT)
		return NR_MISMATCHES;
#ifdef JUDGE_LOST_UNCHARGE
	/* Charged again: the charge is entered, so a mark is the last one's still. */
	if (end == END_HEALED && (marked || charge->flags & CHARGE_FREEING))
		return MISMATCH_LOST_UNCHARGE;
#endif
	if (end == END_HEALED)
		return NR_MISMATCHES;
#ifdef JUDGE_SIZE_MISMATCH
	if (!whole && !(charge->flags & (CHARGE_SPLIT | CHARGE_OF_ANY_ORDER)))
		return MISMATCH_SIZE_MISMATCH;
#endif
#ifdef JUDGE_LOST_UNCHARGE
	if (!uncharged)
		return MISMATCH_LOST_UNCHARGE;
#endif
#ifdef JUDGE_WRONG_CGROUP
	if (marked && ending->owner != charge->owner.objcg)
		return MISMATCH_WRONG_CGROUP;
#endif
	if (!whole && !(charge->flags & CHARGE_OF_ANY_ORDER))
		exempt(EXEMPT_SPLIT);
	if (marked && is_reparented(charge))
		exempt(EXEMPT_REPARENTED);
	return NR_MISMATCHES;
}

#endif
