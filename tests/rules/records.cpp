// Threads that open and close records of the same pages, all at once; included after records.h.
#undef explicit // of ours, before the headers of C++
#include <atomic>
#include <barrier>
#include <random>

static const u64 FIRST = 0xffffea0000000000, SIZE = 1 << STRUCT_PAGE_SHIFT, COUNT = 24;

static u64 page_of(u64 number) { return FIRST + number * SIZE; }

template <typename F> static void at_once(int threads, F run)
{
	std::atomic<int> waiting{threads};
	std::vector<std::thread> all;

	for (int i = 0; i < threads; i++)
		all.emplace_back([&, i] {
			waiting--;
			while (waiting)
				;
			run(i);
		});
	for (auto &one : all)
		one.join();
}

static u64 open_records(u64 page)
{
	struct bucket *bucket = bucket_of(page);
	u64 count = 0;

	EACH_WAY(way)
		count += bucket->page[way] == page;
	return count;
}

static int close_record_of(u64 page)
{
	struct place place = {};

	return find_record(page, &place) ? close_record(page, &place) : NO_ENTRY;
}

// Who owns a page charges and frees it, again and again; all others try to close any.
// Answers records opened, less those closed: 0.
extern "C" s64 close_each_once(u64 seed, u64 rounds)
{
	std::atomic<s64> left{0};

	at_once(4, [&](int me) {
		std::mt19937_64 random(seed + me);

		for (u64 i = 0; i < rounds; i++) {
			u64 own = page_of(random() % (COUNT / 4) * 4 + me), any = page_of(random() % COUNT);
			struct charge charge = {.order = (u16)me};

			if (!record_of_page(own))
				left += !put_record(own, &charge);
			left -= !close_record_of(random() % 2 ? own : any);
		}
	});
	for (u64 number = 0; number < COUNT; number++)
		while (!close_record_of(page_of(number)))
			left--;
	return left;
}

// One charges a page while another's search finds it. Answers how often the page had not exactly
// one record afterwards, of the charge, or whoever closed that of the search was not told.
extern "C" u64 charge_while_searched(u64 rounds)
{
	std::barrier both(2);
	std::atomic<s64> found{0};
	u64 wrong = 0;

	at_once(2, [&](int charges) {
		for (u64 i = 0; i < rounds; i++) {
			u64 page = page_of(i % COUNT);
			struct charge charge = {.flags = (u16)(charges ? 0 : CHARGE_BEFORE)}, before;

			both.arrive_and_wait();
			if (!charges) {
				found += put_found_record(page, &charge);
			} else {
				found -= close_found_record(page, &before);
				if (put_record(page, &charge) == HAS_RECORD) {
					found -= close_found_record(page, &before);
					put_record(page, &charge);
				}
				if (has_found_record_too(page))
					found -= close_found_record(page, &before);
			}
			both.arrive_and_wait();
			if (charges) {
				struct charge *one = record_of_page(page);

				wrong += open_records(page) != 1 || one->flags & CHARGE_BEFORE || found;
				while (!close_record_of(page))
					;
				found = 0;
			}
		}
	});
	return wrong;
}

// Opens records of pages that lie so far apart; answers how many found no room in their bucket.
extern "C" u64 without_room(u64 count, u64 apart)
{
	u64 *more = overflow();

	for (u64 i = 0; i < count; i++) {
		struct charge charge = {};

		put_record(page_of(i * apart), &charge);
	}
	u64 found = *more;
	for (u64 i = 0; i < count; i++)
		close_record_of(page_of(i * apart));
	return found;
}
