/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removals of memory cgroups, with the path that the kernel itself gives, so
 * that one that lived for a millisecond still has its name.
 */
#ifndef KMEMTRACE_LIVES_H
#define KMEMTRACE_LIVES_H

#include "basics.h"
#include "losses.h"
#include "memcg.h"
#include "sums.h"

struct life {
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

/* Of one that has sums alone: nobody will ask for the name of another. Tens of thousands may be
 * made and removed between two snapshots without a process in them; those take no room here, and
 * what is here never outnumbers `cgroups`. A living one's name user space can look up. */
static __always_inline void end_life(u64 cgroup, u64 path)
{
	u64 id = kernfs_id(cgroup);
	struct life *life;
	u32 first = 0;

	if (!is_memory(cgroup) || !find_totals(id))
		return;
	life = new_life.lookup(&first);
	if (!life)
		return;
	bpf_probe_read_kernel_str(life->path, sizeof(life->path), (void *)path);
	if (lives.update(&id, life))
		lose(LOSS_LIVES_FULL, 1);
}

#endif
