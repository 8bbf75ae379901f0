/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When a charge began. To ask the clock takes 30 ns, a sixth of what a charge and its end take; so
 * it is asked once a tick on each CPU, whose charges in that tick all bear that time, which is no
 * later than theirs: of what was missed since a charge, none is overlooked.
 *
 * How long a page lived wants the time itself. It is asked for one charge in eight, by chance: the
 * eighth one each would, of calls that take turns, always be the same one's.
 */
#ifndef KMEMTRACE_CLOCK_H
#define KMEMTRACE_CLOCK_H

#include "basics.h"
#include "records.h"

#define CHANCE_BITS 3

struct clock {
	u64 tick;
	u64 ns; /* CLOCK_MONOTONIC, when it was first asked for in that tick */
	u64 chance;
};

BPF_PERCPU_ARRAY(clocks, struct clock, 1);

static __always_inline void take_time(struct charge *charge)
{
	u32 first = 0;
	struct clock *clock = clocks.lookup(&first);
	u64 tick = bpf_jiffies64(), ns;

	if (!clock)
		return;
	ns = *(volatile u64 *)&clock->ns; /* before its tick: what interrupts us may set both */
	clock->chance = clock->chance * MIX + 1; /* each number comes once */
	if (!(clock->chance >> (64 - CHANCE_BITS)))
		charge->flags |= CHARGE_TIMED;
	if (SELDOM(charge->flags & CHARGE_TIMED || *(volatile u64 *)&clock->tick != tick)) {
		ns = bpf_ktime_get_ns();
		*(volatile u64 *)&clock->ns = ns;
		*(volatile u64 *)&clock->tick = tick;
	}
	charge->time = ns;
}

#endif
