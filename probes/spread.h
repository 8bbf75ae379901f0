/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a key is looked for in a table. */
#ifndef KMEMTRACE_SPREAD_H
#define KMEMTRACE_SPREAD_H

#include "basics.h"

/* One of so many places, a power of two, by the upper bits of a product (Knuth's multiplicative
 * hashing): what is contiguous is spread evenly. By lower bits more than half of contiguous pages
 * found their bucket full. */
static __always_inline u32 spread(u64 key, u64 places)
{
	return key * MIX >> (64 - __builtin_ctzll(places));
}

/* For keys that lie any distance apart, as ids of cgroups do: a product alone leaves those of some
 * distances in a few places. */
static __always_inline u64 folded(u64 key)
{
	u64 product = key * MIX;

	return product ^ product >> 32;
}

#endif
