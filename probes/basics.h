/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs of any subject are written with: reads of the kernel's memory, and loops. */
#ifndef KMEMTRACE_BASICS_H
#define KMEMTRACE_BASICS_H

/* The verifier takes bounded loops as they are; unrolled they compile four times slower. */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")

static __always_inline u64 read_u64(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u32 read_u32(u64 address)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

#endif
