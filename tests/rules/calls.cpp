// Threads whose calls are under way at once, in few buckets; included after calls.h.
#undef explicit // of ours, before the headers of C++
#include <atomic>
#include <random>

struct outcome {
	u64 ended, unpaired, anothers;
};

// A key that no other has, of a call at that depth; of the first bucket.
static u64 key_of(u64 thread, u64 depth)
{
	u64 key = thread << 14 | depth << 10;

#ifdef CALL_BUCKETS
	while (bucket_of_call(key) != &calls.all[0])
		key += 8;
#endif
	return key;
}

// Each thread has some calls under way, as a task has one within another, and ends the last first.
extern "C" void call_at_once(u64 threads, u64 depth, u64 rounds, struct outcome *outcome)
{
	std::atomic<u64> ended{0}, unpaired{0}, anothers{0};
	std::vector<std::thread> all;

	for (u64 me = 1; me <= threads; me++)
		all.emplace_back([&, me] {
			std::mt19937_64 random(me);

			for (u64 i = 0; i < rounds; i++) {
				u64 under_way = 1 + random() % depth;

				for (u64 at = 0; at < under_way; at++) {
					struct call call = {.time = i * depth + at, .page = me << 32 | i, .gfp = (u32)at};
					begin_call(key_of(me, at), &call);
				}
				for (u64 at = under_way; at--;) {
					struct call call = {};

					if (!end_call(key_of(me, at), &call))
						unpaired++;
					else if (call.page != (me << 32 | i) || call.gfp != at)
						anothers++;
					else
						ended++;
				}
			}
		});
	for (auto &one : all)
		one.join();
	*outcome = {ended, unpaired, anothers};
}

// Two entries of one call, the first's exit missed. Answers whose the exit has.
extern "C" u64 miss_an_exit()
{
	struct call first = {.time = 1}, second = {.time = 2}, ended = {};

	begin_call(key_of(1, 0), &first);
	begin_call(key_of(1, 0), &second);
	if (!end_call(key_of(1, 0), &ended) || end_call(key_of(1, 0), &first))
		return 0;
	return ended.time;
}
