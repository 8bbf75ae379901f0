// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies of kernel memory for user space, which decodes them (kmemtrace/census).
 * No event runs these programs: user space does (BPF_PROG_TEST_RUN), and reads
 * what they leave in an array that it has mapped. What cannot be read, such as
 * the struct pages of a hole, is left as zeros.
 */
struct copies {
	u8 bytes[CENSUS_BYTES];
};

struct addresses {
	u64 at[CENSUS_ADDRESSES];
};

BPF_F_TABLE("array", u32, struct copies, copies, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct addresses, addresses, 1, BPF_F_MMAPABLE);

/* copy_memory(address, bytes) */
int copy_memory(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct copies *copy = copies.lookup(&first);
	u64 bytes = ctx->args[1];

	if (copy && bytes <= CENSUS_BYTES)
		bpf_probe_read_kernel(copy->bytes, bytes, (void *)ctx->args[0]);
	return 0;
}

/*
 * gather_memory(bytes, count): so many bytes from each of the first `count`
 * addresses, one after the other. The barriers keep clang from proving away
 * the masks by which the verifier knows the bounds.
 */
int gather_memory(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct copies *copy = copies.lookup(&first);
	struct addresses *from = addresses.lookup(&first);
	u64 step = ctx->args[0], count = ctx->args[1], to = 0;

	if (!copy || !from)
		return 0;
	for (u32 i = 0; i < CENSUS_ADDRESSES; i++) {
		u64 bytes = step;

		if (i >= count)
			break;
		asm volatile("" : "+r"(bytes));
		bytes &= CENSUS_GATHERED - 1;
		asm volatile("" : "+r"(to));
		to &= CENSUS_BYTES - 1;
		if (to > CENSUS_BYTES - CENSUS_GATHERED)
			break;
		bpf_probe_read_kernel(copy->bytes + to, bytes, (void *)from->at[i]);
		to += step;
	}
	return 0;
}

/* follow_memory(address): that of a link, such as a list's head; leaves the addresses of the links
 * that follow it, in their order, as many as there is room for. User space sees where it comes
 * round. */
int follow_memory(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct addresses *links = addresses.lookup(&first);
	u64 at = ctx->args[0];

	if (!links)
		return 0;
	for (u32 i = 0; i < CENSUS_ADDRESSES; i++) {
		u64 next = 0;

		bpf_probe_read_kernel(&next, sizeof(next), (void *)at);
		links->at[i] = at = next;
		if (!next)
			break;
	}
	return 0;
}

/* note_current(): leaves the address of the task that runs this. */
int note_current(struct bpf_raw_tracepoint_args *ctx)
{
	u32 first = 0;
	struct addresses *found = addresses.lookup(&first);

	if (found)
		found->at[0] = bpf_get_current_task();
	return 0;
}
