// What the BPF programs need of BCC and of the kernel, so that the same text runs as plain C++ in a test:
// maps are std::map, helpers read this process's memory, and time, task and CPU are what the test says.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define __always_inline inline
#define BPF_RB_NO_WAKEUP 1

struct bpf_raw_tracepoint_args {
	u64 args[8];
};

template <typename K> struct bytewise {
	bool operator()(const K &a, const K &b) const { return memcmp(&a, &b, sizeof(K)) < 0; }
};

static bool test_busy; /* maps are locked */
static bool test_yields;

template <typename K, typename V> struct Hash {
	size_t room;
	std::map<K, V, bytewise<K>> all;
	std::recursive_mutex lock;

	V *lookup(const K *key)
	{
		std::lock_guard held(lock);
		auto found = all.find(*key);
		return found == all.end() ? nullptr : &found->second;
	}
	int update(const K *key, const V *value)
	{
		std::lock_guard held(lock);
		if (!all.count(*key) && all.size() >= room)
			return -E2BIG;
		all[*key] = *value;
		return 0;
	}
	int insert_locked(const K *key, const V *value)
	{
		std::lock_guard held(lock);
		return all.count(*key) ? -EEXIST : update(key, value);
	}
	int insert(const K *key, const V *value)
	{
		int error = insert_locked(key, value);

		if (test_yields)
			std::this_thread::yield(); /* others come between this and what follows it */
		return error;
	}
	int remove(const K *key)
	{
		std::lock_guard held(lock);
		if (!all.count(*key))
			return -ENOENT;
		if (test_busy)
			return -EBUSY;
		all.erase(*key);
		return 0;
	}
};

template <typename V> struct Array {
	std::vector<V> all;

	explicit Array(size_t size) : all(size) {}
	template <typename K> V *lookup(const K *key) { return *key < all.size() ? &all[*key] : nullptr; }
};

struct Stacks {
	int get_stackid(void *, int) { return 0; }
};

struct Any {
	void *at;
	template <typename T> operator T *() const { return static_cast<T *>(at); }
};

struct Ring {
	std::vector<std::vector<u8>> all;

	Any ringbuf_reserve(size_t size)
	{
		all.emplace_back(size);
		return {all.back().data()};
	}
	void ringbuf_submit(void *, int) {}
};

#define BPF_HASH(name, K, V, size) Hash<K, V> name{size}
#define BPF_ARRAY(name, V, size) Array<V> name(size)
#define BPF_PERCPU_ARRAY(name, V, size) Array<V> name(size)
#define BPF_RINGBUF_OUTPUT(name, pages) Ring name
#define TABLE_lru_hash(K, V, name, size) Hash<K, V> name{size}
#define TABLE_stacktrace(K, V, name, size) Stacks name
#define BPF_F_TABLE(kind, K, V, name, size, flags) Array<V> name(size)
#define BPF_TABLE(kind, K, V, name, size) TABLE_##kind(K, V, name, size)

static u64 test_time, test_task;

static void bpf_probe_read_kernel(void *to, size_t size, const void *from)
{
	if (reinterpret_cast<u64>(from) < 4096)
		memset(to, 0, size);
	else
		memcpy(to, from, size);
}
static void bpf_probe_read_kernel_str(void *to, size_t size, const void *from) { strncpy((char *)to, (const char *)from, size); }
static u64 bpf_ktime_get_ns() { return test_time; }
static u64 bpf_jiffies64() { return test_time / 1000; } /* a tick is as long as two events or three */
static u64 bpf_get_current_task() { return test_task; }
static u64 bpf_get_current_pid_tgid() { return 0; }
static u32 bpf_get_smp_processor_id() { return 0; }
static void bpf_get_current_comm(void *to, size_t size) { memset(to, 0, size); }
static u64 bpf_log2l(u64 value) { return value ? 64 - __builtin_clzll(value) : 0; }

extern "C" {
void set_time(u64 ns) { test_time = ns; }
void set_task(u64 task) { test_task = task; }
void set_busy(bool busy) { test_busy = busy; }
}
