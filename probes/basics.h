/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs of any subject are written with: reads of the kernel's memory, and loops. */
#ifndef KMEMTRACE_BASICS_H
#define KMEMTRACE_BASICS_H

/* The verifier takes bounded loops as they are; unrolled they compile four times slower. */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")

/* Is hardly ever so: what follows stands behind the rest of a program, so that what nearly every
 * event runs lies in few lines of the CPU's cache. */
#define SELDOM(condition) __builtin_expect(!!(condition), 0)
#define MOSTLY(condition) __builtin_expect(!!(condition), 1)

/*
 * Where the kernel lets a program take a number for an address (6.2 on), a read is a load, of 1 ns
 * instead of a helper's 19. Either way what lies where there is no memory is 0.
 */
#ifdef CAST_FUNCTION
static void *(*cast)(u64 address, u32 type) = (void *)CAST_FUNCTION;

static __always_inline u64 read_u64(u64 address)
{
	return *(volatile u64 *)cast(address, CAST_STRUCT);
}

static __always_inline u32 read_u32(u64 address)
{
	return *(volatile u32 *)cast(address, CAST_STRUCT);
}
#else
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

/* A number that differs from run to run: user space puts it in when it loads the program, so that
 * what was compiled serves all. The compiler knows another for it, which it must not reckon with.
 */
static __always_inline u64 put_in(u64 number)
{
	asm volatile("" : "+r"(number));
	return number;
}

#endif
