// What a kernel's accesses to memory cost, counted from the same trace as its races: replays of shared memory's
// banks, and sectors of global memory against the bytes that are used of them.
//
// A GPU serves an instruction for a warp at once, but fibers run one after the other. So what the lanes do between
// two meetings of their warp is kept, and the k-th access of every lane from the same place in the program is
// taken for one instruction. That is an approximation: a GPU's compiler may join accesses or keep values in
// registers where the host's compiler reads again, and lanes that went other ways before may be put together.
//
// Shared memory: 32 banks of 4 bytes. Accesses of 8 and 16 bytes go by half and quarter warps. Every further word
// in a bank is a replay. Global memory: sectors of 32 bytes, no cache.
//
// V5_TRAFFIC names the file to which a table is appended when the process ends.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

#include "races_report.h"

namespace emulate::races {
namespace {

struct Count {
  uint64_t accesses = 0, replays = 0, sectors = 0, used = 0;
  void add(const Count &other) {
    accesses += other.accesses, replays += other.replays, sectors += other.sectors, used += other.used;
  }
};
struct Seen {
  uintptr_t address;
  uint32_t from;
  uint16_t size;
  bool shared;
};
/// One instruction of a warp.
struct Group {
  unsigned lanes = 0;
  Seen of[32];
};

std::mutex lock;

/// For every kernel, for every place in the program: of shared and of global memory.
struct Totals {
  std::map<std::string, std::map<uint32_t, Count>> shared, global;
  ~Totals();
};
Totals totals;

struct Log {
  std::vector<Seen> of[1024];
  std::unordered_map<uint32_t, Count> shared, global;
};
thread_local Log *log_of_thread;

Count banks(const Group &g) {
  Count count;
  unsigned words = std::max(1u, g.of[0].size / 4u), at_once = 32 / words;
  for (unsigned first = 0; first < g.lanes; first += at_once) {
    std::set<uintptr_t> different;
    for (unsigned i = first; i < std::min(g.lanes, first + at_once); i++)
      for (unsigned word = 0; word < words; word++) different.insert(g.of[i].address / 4 + word);
    unsigned of_bank[32] = {}, most = 0;
    for (uintptr_t word : different) most = std::max(most, ++of_bank[word % 32]);
    count.accesses++;
    count.replays += most - 1;
  }
  return count;
}

Count sectors(const Group &g) {
  std::set<uintptr_t> sectors, pieces;
  for (unsigned i = 0; i < g.lanes; i++)
    for (uintptr_t at = g.of[i].address; at < g.of[i].address + g.of[i].size; at += 2)
      sectors.insert(at / 32), pieces.insert(at / 2);
  Count count;
  count.accesses = 1, count.sectors = sectors.size(), count.used = 2 * pieces.size();
  return count;
}

std::string row(const std::string &kernel, const std::map<uint32_t, Count> *shared,
                const std::map<uint32_t, Count> *global) {
  Count all_shared, all_global;
  uint32_t worst_shared = 0, worst_global = 0;
  uint64_t most_replays = 0, most_waste = 0;
  if (shared)
    for (auto &[from, count] : *shared) {
      all_shared.add(count);
      if (count.replays > most_replays) most_replays = count.replays, worst_shared = from;
    }
  if (global)
    for (auto &[from, count] : *global) {
      all_global.add(count);
      uint64_t waste = 32 * count.sectors - std::min(32 * count.sectors, count.used);
      if (waste > most_waste) most_waste = waste, worst_global = from;
    }
  char room[512];
  snprintf(room, sizeof room, "| %s | %llu | %.2f | %s | %llu | %.2f | %s |\n", kernel.c_str(),
           (unsigned long long)all_shared.accesses,
           all_shared.accesses ? double(all_shared.replays) / double(all_shared.accesses) : 0.0,
           worst_shared ? lines(worst_shared).c_str() : "", (unsigned long long)(32 * all_global.sectors),
           all_global.used ? 32.0 * double(all_global.sectors) / double(all_global.used) : 0.0,
           worst_global ? lines(worst_global).c_str() : "");
  return room;
}

Totals::~Totals() {
  const char *path = getenv("V5_TRAFFIC");
  if (!path) return;
  FILE *file = fopen(path, "a");
  if (!file) return;
  fputs("| kernel | accesses of shared memory | replays each | most of them | bytes moved | per byte used | most waste |\n"
        "|---|---|---|---|---|---|---|\n", file);
  std::set<std::string> names;
  for (auto &[name, more] : shared) names.insert(name);
  for (auto &[name, more] : global) names.insert(name);
  for (auto &name : names) {
    auto a = shared.find(name), b = global.find(name);
    fputs(row(name, a == shared.end() ? nullptr : &a->second, b == global.end() ? nullptr : &b->second).c_str(), file);
  }
  fclose(file);
}

}  // namespace

bool counts_traffic() {
  static const bool on = getenv("V5_TRAFFIC") != nullptr;
  return on;
}

void note_traffic(unsigned thread, uintptr_t address, unsigned size, uint32_t from, bool shared) {
  static thread_local Log log;
  log_of_thread = &log;
  // Ranges of any length are no instruction.
  if (size <= 16) log.of[thread].push_back({address, from, uint16_t(size), shared});
}

void meet_traffic(unsigned warp) {
  Log *log = log_of_thread;
  if (!log) return;
  std::map<std::pair<uint32_t, unsigned>, Group> groups;
  for (unsigned lane = 0; lane < 32; lane++) {
    auto &all = log->of[warp * 32 + lane];
    std::unordered_map<uint32_t, unsigned> times;
    for (const Seen &seen : all) {
      Group &group = groups[{seen.from, times[seen.from]++}];
      group.of[group.lanes++] = seen;
    }
    all.clear();
  }
  for (auto &[key, group] : groups)
    (group.of[0].shared ? log->shared : log->global)[key.first].add(group.of[0].shared ? banks(group)
                                                                                       : sectors(group));
}

void total_traffic(const char *kernel) {
  Log *log = log_of_thread;
  if (!log) return;
  std::lock_guard<std::mutex> guard(lock);
  for (auto &[from, count] : log->shared) totals.shared[kernel][from].add(count);
  for (auto &[from, count] : log->global) totals.global[kernel][from].add(count);
  log->shared.clear(), log->global.clear();
}

}  // namespace emulate::races
