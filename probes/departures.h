/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the processes of a verified command went that left its cgroup: moved, or born elsewhere
 * (clone3() with CLONE_INTO_CGROUP). They are known by their descent from the process that runs
 * us, to which their orphans fall (PR_SET_CHILD_SUBREAPER), and not by the cgroup that they come
 * from, which is forgotten by the time that a move is told.
 */
#ifndef KMEMTRACE_DEPARTURES_H
#define KMEMTRACE_DEPARTURES_H

#include "basics.h"
#include "charges.h"
#include "memcg.h"

#ifdef WITH_DEPARTURES
#define MAX_DESCENT 64

struct departure {
	u64 processes;
	u32 tgid; /* of the last, as is its name */
	u32 pad;
	char comm[16];
	char path[LIFE_PATH]; /* empty where the kernel did not give it */
};

BPF_HASH(departures, u64, struct departure, MAX_DEPARTURES);
BPF_PERCPU_ARRAY(new_departure, struct departure, 1); /* too big for the stack */
BPF_ARRAY(our_process, u64, 1);

/* Deeper than we look counts as a descendant: what it did would else not be missed. */
static __always_inline bool is_descendant(u64 task)
{
	u32 first = 0;
	u64 *ours = our_process.lookup(&first), next;

	if (!ours || !*ours)
		return false;
	NO_UNROLL
	for (int i = 0; i < MAX_DESCENT; i++) {
		/* The thread that forked it, which may be none of its process's first. */
		next = read_u64(read_u64(task + OFF_TASK_REAL_PARENT) + OFF_TASK_GROUP_LEADER);
		if (next == *ours)
			return true;
		if (!next || next == task) /* the first task of all is its own parent */
			return false;
		task = next;
	}
	return true;
}

static __always_inline struct departure *departure_to(u64 id, u64 path)
{
	struct departure *known = departures.lookup(&id), *departure;
	u32 first = 0;

	if (known)
		return known;
	departure = new_departure.lookup(&first);
	if (!departure)
		return 0;
	departure->path[0] = 0;
	if (path)
		bpf_probe_read_kernel_str(departure->path, sizeof(departure->path), (void *)path);
	departures.insert(&id, departure);
	return departures.lookup(&id);
}

/* Notes the cgroup that a task is charged to, if that is not what we trace anyway. `path`: of
 * `cgroup`, which need not be the same. */
static __always_inline void depart(u64 task, u64 cgroup, u64 path)
{
	u64 memcg = memcg_of(task), charged = cgroup_of(memcg), id;
	struct departure *known;

#ifdef SUBTREE_ID
	if (in_subtree(memcg))
		return;
#endif
	if (!is_descendant(task))
		return;
	id = kernfs_id(charged);
	known = departure_to(id, charged == cgroup ? path : 0);
	if (!known) {
		lose(LOSS_DEPARTURES_FULL, 1);
		return;
	}
	__sync_fetch_and_add(&known->processes, 1);
	known->tgid = read_u32(task + OFF_TASK_TGID);
	bpf_probe_read_kernel_str(known->comm, sizeof(known->comm), (void *)(task + OFF_TASK_COMM));
}

/* sched_process_fork(parent, child) */
int task_born(struct bpf_raw_tracepoint_args *ctx)
{
	u64 parent = ctx->args[0], child = ctx->args[1];

	if (read_u64(parent + OFF_TASK_CGROUPS) != read_u64(child + OFF_TASK_CGROUPS))
		depart(child, 0, 0);
	return 0;
}
#else
#define depart(...) /* nobody asked */
#endif

#endif
