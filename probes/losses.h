/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs missed or had no room for, by LOSS_*. */
#ifndef KMEMTRACE_LOSSES_H
#define KMEMTRACE_LOSSES_H

#include "basics.h"

BPF_ARRAY(losses, u64, NR_LOSSES);

static __always_inline void lose(u32 what, u64 count)
{
	u64 *lost = losses.lookup(&what);

	if (lost)
		__sync_fetch_and_add(lost, count);
}

#endif
