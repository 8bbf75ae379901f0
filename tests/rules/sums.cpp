// Threads that count of the same cgroups, all at once, while places are given back; included after sums.h.
#undef explicit // of ours, before the headers of C++
#include <atomic>
#include <barrier>
#include <random>
#include <set>

static const u32 THREADS = 4, KEYS = 6;

// So many keys that want the same few places.
static std::vector<u64> crowded(u32 count, u64 from)
{
	std::vector<u64> found;

	for (u64 key = from; found.size() < count; key++)
		if (spread(folded(key), CGROUP_PLACES) < 4)
			found.push_back(key);
	return found;
}

// As user space does it.
static void give_back(u64 key)
{
	for (u32 at = 0; at < CGROUP_PLACES; at++) {
		if (cgroup_keys.all[at] != key)
			continue;
		memset(&cgroups.all[at], 0, sizeof(cgroups.all[at]));
		__atomic_store_n(&cgroup_keys.all[at], 0, __ATOMIC_SEQ_CST);
		cgroup_claims.remove(&at);
	}
}

// Answers how often something was counted, less what the places of those keys have afterwards: 0.
// `twice`: how often a key had two.
extern "C" s64 count_each_once(u64 seed, u64 rounds, u64 *twice)
{
	std::vector<u64> counted = crowded(KEYS, 1), gone = crowded(KEYS, 1 << 20);
	std::barrier all(THREADS + 1);
	std::atomic<s64> left{0};
	std::vector<std::thread> threads;

	*twice = 0;
	test_yields = true;
	for (u32 me = 0; me < THREADS; me++)
		threads.emplace_back([&, me] {
			std::mt19937_64 random(seed + me);

			for (u64 round = 0; round < rounds; round++) {
				all.arrive_and_wait();
				for (u32 i = 0; i < 2 * KEYS; i++) {
					struct totals *totals = totals_of(counted[random() % KEYS]);

					if (totals) {
						__sync_fetch_and_add(&totals->failed, 1);
						left++;
					}
				}
				all.arrive_and_wait();
			}
		});
	for (u64 round = 0; round < rounds; round++) {
		std::set<u64> met;

		for (u64 key : gone)
			totals_of(key);
		all.arrive_and_wait();
		for (u64 key : gone)
			give_back(key);
		all.arrive_and_wait();
		for (u32 at = 0; at < CGROUP_PLACES; at++) {
			if (!cgroup_keys.all[at])
				continue;
			left -= cgroups.all[at].failed;
			*twice += !met.insert(cgroup_keys.all[at]).second;
		}
		for (u64 key : counted)
			give_back(key);
	}
	for (auto &one : threads)
		one.join();
	return left;
}

// Enters that many cgroups, whose ids lie so far apart; answers how many were found again in a place
// of their own.
extern "C" u64 enter(u64 count, u64 apart)
{
	std::set<struct totals *> places;

	for (u64 i = 0; i < count; i++)
		totals_of(1 + i * apart);
	for (u64 i = 0; i < count; i++)
		if (find_totals(1 + i * apart))
			places.insert(find_totals(1 + i * apart));
	return places.size();
}

extern "C" u64 refused() { return losses.all[LOSS_CGROUPS_FULL]; }
extern "C" u64 room() { return MAX_CGROUPS; }
