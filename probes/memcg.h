/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is charged for a page. Every OFF_* is an offset in bytes that the Plan
 * read from the kernel's BTF; MARK_* and OWNER_* say where this generation of
 * kernels keeps the mark of a charged page and its owner.
 */
#ifndef KMEMTRACE_MEMCG_H
#define KMEMTRACE_MEMCG_H

#include "basics.h"

struct owner {
	u64 objcg; /* the memcg itself on kernels that have no objcg for pages */
	u64 memcg;
	u64 cgroup; /* kernfs id of the memcg's cgroup */
};

/* The word of a page that has its mark. */
static __always_inline u64 mark_of(u64 page)
{
#if MARK_SIZE == 8
	return read_u64(page + OFF_PAGE_MARK);
#else
	return read_u32(page + OFF_PAGE_MARK);
#endif
}

static __always_inline bool is_mark(u64 word)
{
	return (word & MARK_MASK) == MARK_VALUE;
}

static __always_inline bool is_charged(u64 page)
{
	return is_mark(mark_of(page));
}

static __always_inline u64 kernfs_id(u64 cgroup)
{
	return read_u64(read_u64(cgroup + OFF_CGROUP_KN) + OFF_KN_ID);
}

static __always_inline u64 cgroup_of(u64 memcg)
{
	return read_u64(memcg + OFF_MEMCG_CGROUP);
}

enum {
	CSS_ONLINE = 1 << 1,
	CSS_DYING = 1 << 4,
};

/* Neither being made nor being removed. */
static __always_inline bool is_online(u64 memcg)
{
	u32 css = read_u32(memcg + OFF_MEMCG_CSS_FLAGS);

	return css & CSS_ONLINE && !(css & CSS_DYING);
}

/* The objcg, or memcg, that a page is charged to. */
static __always_inline u64 owner_word(u64 page)
{
	return read_u64(page + OFF_PAGE_OWNER) & ~7ULL;
}

/* The same of a page whose mark was read, which from 5.11 on (bcfe06bf2622) is in the same word: a
 * read takes 19 ns. */
static __always_inline u64 owner_beside(u64 page, u64 mark)
{
#if MARK_SIZE == 8 && OFF_PAGE_MARK == OFF_PAGE_OWNER
	return mark & ~7ULL;
#else
	return owner_word(page);
#endif
}

#ifdef TASK_FUNCTION
/* The verifier knows which struct the current task is, from 5.11 on (3ca1032ab7ab), and what its
 * members point to: before 6.2, too, these are loaded. */
static void *(*typed_task)(void) = (void *)TASK_FUNCTION;

static __always_inline void *pointer_at(void *address)
{
	return *(void *volatile *)address;
}

/* The id of a memcg's cgroup, if that is the current task's; else 0. */
static __always_inline u64 own_cgroup(u64 memcg)
{
	void *css_set = pointer_at(typed_task() + OFF_TASK_CGROUPS);
	void *css = pointer_at(css_set + OFF_CSS_SET_MEMORY);

	if ((u64)css != memcg + OFF_MEMCG_CSS)
		return 0;
	css = pointer_at(css + OFF_MEMCG_CGROUP - OFF_MEMCG_CSS);
	return *(volatile u64 *)(pointer_at(css + OFF_CGROUP_KN) + OFF_KN_ID);
}
#else
#define own_cgroup(memcg) 0
#endif

static __always_inline bool owner_from(u64 word, struct owner *owner)
{
	owner->objcg = word;
#ifdef OFF_OBJCG_MEMCG
	owner->memcg = read_u64(owner->objcg + OFF_OBJCG_MEMCG);
#else
	owner->memcg = owner->objcg;
#endif
	if (!owner->memcg)
		return false;
	owner->cgroup = own_cgroup(owner->memcg);
	if (!owner->cgroup)
		owner->cgroup = kernfs_id(cgroup_of(owner->memcg));
	return true;
}

static __always_inline bool owner_of(u64 page, struct owner *owner)
{
	return owner_from(owner_word(page), owner);
}

/* Is the memcg's cgroup the one that --cgroup names, or below it? */
static __always_inline bool in_subtree(u64 memcg)
{
#ifdef SUBTREE_ID
	u64 cgroup = cgroup_of(memcg), level = put_in(SUBTREE_LEVEL);
	u64 ancestor;

	if (read_u32(cgroup + OFF_CGROUP_LEVEL) < level)
		return false;
	ancestor = read_u64(cgroup + OFF_CGROUP_ANCESTORS + level * 8);
#ifdef ANCESTORS_ARE_IDS
	return ancestor == put_in(SUBTREE_ID);
#else
	return kernfs_id(ancestor) == put_in(SUBTREE_ID);
#endif
#else
	return true;
#endif
}

/* Whose memcg the current task's charges go to. */
static __always_inline u64 charged_task(u64 task)
{
#ifdef OFF_MM_OWNER /* before 5.13 (b4e0b68fbd9d): that of the address space's owner */
	u64 mm = read_u64(task + OFF_TASK_MM);
	u64 owner = mm ? read_u64(mm + OFF_MM_OWNER) : 0;

	return owner ? owner : task;
#else
	return task;
#endif
}

static __always_inline u64 active_memcg(u64 task)
{
#ifdef OFF_TASK_ACTIVE_MEMCG
	return read_u64(task + OFF_TASK_ACTIVE_MEMCG); /* set_active_memcg() */
#else
	return 0;
#endif
}

/* Whether the current task's charges go to another memcg than its own. */
static __always_inline bool charges_another(void)
{
#if defined(TASK_FUNCTION) && defined(OFF_TASK_ACTIVE_MEMCG)
	return pointer_at(typed_task() + OFF_TASK_ACTIVE_MEMCG);
#else
	return active_memcg(bpf_get_current_task());
#endif
}

/* That of its cgroup. */
static __always_inline u64 memcg_of(u64 task)
{
	u64 css_set = read_u64(charged_task(task) + OFF_TASK_CGROUPS);

	/* the css is the first member of struct mem_cgroup, at OFF_MEMCG_CSS */
	return read_u64(css_set + OFF_CSS_SET_MEMORY) - OFF_MEMCG_CSS;
}

/* The one that the current task's charges go to. */
static __always_inline u64 current_memcg(void)
{
	u64 task = bpf_get_current_task();
	u64 remote = active_memcg(task);

	return remote ? remote : memcg_of(task);
}

/*
 * Is a limit of this memcg, or of one above it, too low for so many pages
 * more? Runs for an accounted allocation that returned nothing, to tell a
 * failed charge from a machine without free memory. 16 levels: deeper limits
 * than that have not been met.
 */
static __always_inline bool limit_reached(u64 counter, u64 pages)
{
	NO_UNROLL
	for (int level = 0; level < 16; level++) {
		if (!counter)
			break;
		if (read_u64(counter + OFF_COUNTER_USAGE) + pages >
		    read_u64(counter + OFF_COUNTER_MAX))
			return true;
		counter = read_u64(counter + OFF_COUNTER_PARENT);
	}
	return false;
}

/* memsw and kmem are v1's; v2 counts swap where memsw stands. */
static __always_inline bool charge_would_fail(u64 memcg, u64 pages)
{
	return limit_reached(memcg + OFF_MEMCG_MEMORY, pages)
#if defined(CGROUP_V1) && defined(OFF_MEMCG_MEMSW)
	       || limit_reached(memcg + OFF_MEMCG_MEMSW, pages)
#endif
#if defined(CGROUP_V1) && defined(OFF_MEMCG_KMEM)
	       || limit_reached(memcg + OFF_MEMCG_KMEM, pages)
#endif
		;
}

#endif
