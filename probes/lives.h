/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Births and deaths of memory cgroups, with the path that the kernel itself
 * gives, so that one that lived for a millisecond still has its name.
 */
#ifndef KMEMTRACE_LIVES_H
#define KMEMTRACE_LIVES_H

#include "memcg.h"

struct life {
	u64 removed; /* CLOCK_MONOTONIC, ns; 0: not yet */
	char path[LIFE_PATH];
};

BPF_HASH(lives, u64, struct life, MAX_LIVES);
BPF_PERCPU_ARRAY(new_life, struct life, 1); /* too big for the stack */

/* Each v1 hierarchy numbers its own cgroups; only memory's are of interest. */
static __always_inline bool is_memory(u64 cgroup)
{
	u64 root = read_u64(cgroup + OFF_CGROUP_ROOT);

	return read_u32(root + OFF_ROOT_HIERARCHY) == MEMORY_HIERARCHY;
}

static __always_inline struct life *begin_life(u64 cgroup, u64 path)
{
	struct life *life;
	u32 first = 0;
	u64 id;

	if (!is_memory(cgroup))
		return 0;
	id = kernfs_id(cgroup);
	life = lives.lookup(&id);
	if (life)
		return life;
	life = new_life.lookup(&first);
	if (!life)
		return 0;
	bpf_probe_read_kernel_str(life->path, sizeof(life->path), (void *)path);
	lives.update(&id, life);
	life = lives.lookup(&id);
	if (!life)
		lose(LOSS_LIVES_FULL, 1);
	return life;
}

#endif
