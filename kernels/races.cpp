// A detector of races: what a kernel's threads do to memory without an order between them.
//
// The kernels are compiled with the instrumentation of ThreadSanitizer, and its functions are those at the end of
// this file: every access comes by, with the address it is made from. An access happens before another one of the
// same launch (CUDA C++ Programming Guide, "Memory Synchronization Functions" and "Warp Shuffle Functions"; PTX
// ISA, "cp.async")
//   - if the same thread makes both, in this order,
//   - if a __syncthreads of their block lies between them,
//   - if a __syncwarp of their warp lies between them.
// Nothing else orders: shuffles and tile products do not ("do not imply a memory barrier"), and nothing does
// between blocks, as no kernel here has atomics or fences. Barriers take all of a block or of a warp. So vector
// clocks come down to two numbers: an interval, which ends whenever a block meets a barrier or begins, and a warp's
// round within it, which ends at __syncwarp. Accesses of different threads are unordered if their interval is the
// same, and their warps differ or their rounds are the same.
//
// An asynchronous copy writes at some time between its issue and the wait for its group by the thread that issued
// it: nobody, not even that thread, may touch its 16 bytes in between, and what comes later needs a barrier
// behind the wait. A matrix read by a warp as a whole is read by all of its lanes.
//
// Every element has a cell: the last write, and who has read since. Stale cells have old intervals; none is cleared.
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "races_report.h"

namespace emulate::races {
namespace {

struct Cell {
  uint32_t write_interval, write_who;  // thread + 1024·round
  uint32_t write_from;                 // place in the program, and flags
  uint32_t read_interval, read_who;    // warp + 32·round
  uint32_t read_lanes, read_from;
  uint32_t other;  // another warp or block that has read: its warp + 32·place, and a flag
};
/// In `write_from`: by an asynchronous copy, and one that nobody has waited for yet.
constexpr uint32_t COPIED = 1u << 31, UNDER_WAY = 1u << 30, PLACE = UNDER_WAY - 1;
/// In `other`: within the interval of `read_interval`, or within its launch.
constexpr uint32_t WARPS = 1u << 31, BLOCKS = 1u << 30;

constexpr size_t PAGE = 4096;
constexpr unsigned MOST_SHARED = 228 * 1024;

struct Detector {
  Places at{};
  bool on = false, traffic = false;
  // Who runs.
  uintptr_t stack = 0;
  uint32_t thread = 0, warp = 0, round = 0;
  uint32_t rounds[32] = {};
  // Intervals grow for ever; the launch's and the block's first.
  uint32_t interval = 0, launch = 0, block = 0;
  unsigned shift = 2;  // of bytes to cells
  std::unique_ptr<Cell[]> shared{new Cell[MOST_SHARED / 2]()};
  std::unordered_map<uintptr_t, Cell *> pages;
  std::vector<std::unique_ptr<Cell[]>> spare, used;
  uintptr_t last_page = 0;
  Cell *last_cells = nullptr;
  std::vector<std::pair<uint32_t, uint3>> blocks;
  Report report{};
  Site left_out{"", 0};
  std::vector<Site> met;

  Cell *page(uintptr_t number) {
    if (number == last_page && last_cells) return last_cells;
    Cell *&cells = pages[number];
    if (!cells) {
      if (spare.empty()) spare.emplace_back(new Cell[PAGE / 2]());
      used.push_back(std::move(spare.back()));
      spare.pop_back();
      cells = used.back().get();
    }
    last_page = number, last_cells = cells;
    return cells;
  }
};
thread_local Detector *detector;

Detector &mine() {
  static thread_local Detector one;
  detector = &one;
  return one;
}

enum class Kind { read, write, warp_read, copy };

uint32_t place(const void *pc) {
  return uint32_t(reinterpret_cast<uintptr_t>(pc) - reinterpret_cast<uintptr_t>(&__ehdr_start)) & PLACE;
}

/// Ends the launch with what has been found. What is uninitialised may turn out to be written later by somebody
/// without order, which says more: only the end of the launch tells.
void found(Detector &d, Found what, uintptr_t address, unsigned size, Kind kind, uint32_t from,
           const Access &before) {
  if (what == Found::uninitialised && d.report.what == what) return;
  Report &r = d.report;
  r.what = what;
  r.address = address;
  r.size = size;
  r.shared = address - reinterpret_cast<uintptr_t>(d.at.room) < d.at.room_bytes;
  r.now = {true, d.thread, kind == Kind::write || kind == Kind::copy, kind == Kind::copy, from, block->index};
  r.before = before;
  if (what != Found::uninitialised) stop();
}

uint3 block_of(const Detector &d, uint32_t interval) {
  size_t i = d.blocks.size();
  while (i > 1 && d.blocks[i - 1].first > interval) i--;
  return d.blocks[i - 1].second;
}

/// Whoever wrote a cell last.
Access writer(const Detector &d, const Cell &c) {
  return {true, c.write_who % 1024, true, (c.write_from & COPIED) != 0, c.write_from & PLACE,
          block_of(d, c.write_interval)};
}
/// Somebody else who has read a cell since.
Access reader(const Detector &d, const Cell &c) {
  bool same = c.read_interval >= d.block && c.read_who % 32 == d.warp;
  if (c.other && (same || (c.other & BLOCKS)))
    return {false, c.other % 32 * 32, false, false, (c.other & ~(WARPS | BLOCKS)) / 32, block_of(d, c.read_interval)};
  uint32_t lanes = same ? c.read_lanes & ~(1u << d.thread % 32) : c.read_lanes;
  unsigned lane = 0;
  while (lane < 31 && !(lanes >> lane & 1)) lane++;
  return {true, c.read_who % 32 * 32 + lane, false, false, c.read_from, block_of(d, c.read_interval)};
}

/// Whether nothing orders the last write before this access.
bool races_with_write(const Detector &d, const Cell &c, Kind kind) {
  if (c.write_interval != d.interval) return c.write_interval < d.block;
  uint32_t thread = c.write_who % 1024;
  if (thread / 32 != d.warp) return true;
  return c.write_who / 1024 == d.round && (thread != d.thread || kind == Kind::warp_read);
}
/// Whether nothing orders some read before this write.
bool races_with_read(const Detector &d, const Cell &c) {
  if (c.other & BLOCKS) return true;
  if (c.read_interval != d.interval) return c.read_interval < d.block;
  if ((c.other & WARPS) || c.read_who % 32 != d.warp) return true;
  return c.read_who / 32 == d.round && (c.read_lanes & ~(1u << d.thread % 32));
}

void note_read(Detector &d, Cell &c, Kind kind, uint32_t from, bool shared) {
  uint32_t lanes = kind == Kind::warp_read ? ~0u : 1u << d.thread % 32, who = d.warp + 32 * d.round;
  if (c.read_interval != d.interval) {
    bool valid = !shared && c.read_interval >= d.launch;
    if (!valid)
      c.other = 0;
    else if (!(c.other & BLOCKS))
      c.other = c.read_interval < d.block ? BLOCKS | c.read_from << 5 | c.read_who % 32 : 0;
    c.read_interval = d.interval, c.read_who = who, c.read_lanes = lanes;
  } else if (c.read_who == who) {
    c.read_lanes |= lanes;
  } else {
    if (c.read_who % 32 != d.warp && !(c.other & BLOCKS)) c.other = WARPS | c.read_from << 5 | c.read_who % 32;
    c.read_who = who, c.read_lanes = lanes;
  }
  c.read_from = from;
}

void touch_cell(Detector &d, Cell &c, uintptr_t address, unsigned size, Kind kind, uint32_t from, bool shared) {
  uint32_t first = shared ? d.block : d.launch;
  bool writes = kind == Kind::write || kind == Kind::copy, written = c.write_interval >= first;
  if (written) {
    if (c.write_from & UNDER_WAY) found(d, Found::under_way, address, size, kind, from, writer(d, c));
    if (races_with_write(d, c, kind)) found(d, Found::race, address, size, kind, from, writer(d, c));
  } else if (shared && !writes) {
    found(d, Found::uninitialised, address, size, kind, from, {});
  }
  if (!writes) return note_read(d, c, kind, from, shared);
  if (c.read_interval >= first && races_with_read(d, c))
    found(d, Found::race, address, size, kind, from, reader(d, c));
  c.write_interval = d.interval, c.write_who = d.thread + 1024 * d.round;
  c.write_from = from | (kind == Kind::copy ? COPIED | UNDER_WAY : 0);
  c.read_interval = 0, c.other = 0;
}

/// The cells of an access, one after the other.
template <class F> inline void each_cell(Detector &d, uintptr_t address, unsigned size, F f) {
  uintptr_t shared = reinterpret_cast<uintptr_t>(block->shared), offset = address - shared, grain = 1u << d.shift;
  if (offset < block->shared_bytes) {
    for (uintptr_t i = offset; i < offset + size; i += grain) f(d.shared[i >> d.shift], true);
    return;
  }
  for (uintptr_t i = address; i < address + size; i += grain) f(d.page(i / PAGE)[i % PAGE >> d.shift], false);
}

__attribute__((noinline)) void touch(Detector &d, uintptr_t address, unsigned size, Kind kind, const void *pc) {
  uint32_t from = place(pc);
  if (address - reinterpret_cast<uintptr_t>(d.at.stacks) < d.at.stack * d.at.threads)
    found(d, Found::stack, address, size, kind, from, {});
  if (address - reinterpret_cast<uintptr_t>(d.at.room) < d.at.room_bytes) {
    if (address - reinterpret_cast<uintptr_t>(block->shared) + size > block->shared_bytes)
      found(d, Found::outside, address, size, kind, from, {});
  } else if (address - reinterpret_cast<uintptr_t>(d.at.mail) < d.at.threads / 32 * sizeof(Mail) ||
             address - reinterpret_cast<uintptr_t>(&__ehdr_start) < size_t(&_end - &__ehdr_start)) {
    return;
  }
  if (d.traffic)
    note_traffic(d.thread, address, size, from,
                 address - reinterpret_cast<uintptr_t>(block->shared) < block->shared_bytes);
  if (address % (1u << d.shift) || size % (1u << d.shift)) found(d, Found::splinter, address, size, kind, from, {});
  each_cell(d, address, size,
            [&](Cell &c, bool shared) { touch_cell(d, c, address, size, kind, from, shared); });
}

inline void seen(const void *address, size_t size, Kind kind, const void *pc) {
  Detector *d = detector;
  auto at = reinterpret_cast<uintptr_t>(address);
  if (!d || !d->on || at - d->stack < d->at.stack) return;
  touch(*d, at, unsigned(size), kind, pc);
}

}  // namespace

void begins(const Places &places) {
  Detector &d = mine();
  d.at = places;
  d.on = true;
  d.traffic = counts_traffic();
  d.launch = d.interval + 1;
  // As fine as the smallest elements.
  d.shift = 2;
  for (unsigned i = 0; i < places.count; i++)
    if (places.arguments[i].kind == 1) d.shift = 1;
  d.pages.clear();
  d.last_cells = nullptr;
  for (auto &cells : d.used) d.spare.push_back(std::move(cells));
  d.used.clear();
  d.blocks.clear();
  d.report = {};
}

void next_block() {
  Detector &d = *detector;
  for (unsigned warp = 0; warp < d.at.threads / 32; warp++) meets(warp);
  if (++d.interval > 0xffffff00u) abort();
  d.block = d.interval;
  d.blocks.push_back({d.interval, block->index});
  memset(d.rounds, 0, sizeof d.rounds);
}

void enters(const Fiber &fiber) {
  Detector &d = *detector;
  d.thread = fiber.number;
  d.warp = fiber.number / 32;
  d.round = d.rounds[d.warp];
  d.stack = reinterpret_cast<uintptr_t>(d.at.stacks) + fiber.number * d.at.stack;
}

void meets(unsigned warp) {
  if (detector->traffic) meet_traffic(warp);
}

void joins(unsigned warp) { detector->rounds[warp]++; }

void joins() {
  Detector &d = *detector;
  for (unsigned warp = 0; warp < d.at.threads / 32; warp++) meets(warp);
  d.interval++;
  memset(d.rounds, 0, sizeof d.rounds);
}

void copies(const void *to, const void *from, const void *pc) {
  if (from) seen(from, 16, Kind::read, pc);
  seen(to, 16, Kind::copy, pc);
}

void arrives(const void *to) {
  Detector &d = *detector;
  each_cell(d, reinterpret_cast<uintptr_t>(to), 16, [&](Cell &c, bool) {
    c.write_interval = d.interval, c.write_who = d.thread + 1024 * d.round, c.write_from &= ~UNDER_WAY;
  });
}

bool left_out(Site site) {
  Detector &d = *detector;
  bool known = false;
  for (const Site &other : d.met) known |= other.line == site.line && other.file == site.file;
  if (!known) d.met.push_back(site);
  return site.line == d.left_out.line && !strcmp(base_name(site.file), d.left_out.file);
}

bool ends(char *message, size_t size) {
  Detector &d = *detector;
  d.on = false;
  for (unsigned warp = 0; warp < d.at.threads / 32; warp++) meets(warp);
  if (d.traffic) total_traffic(d.at.kernel);
  if (d.report.what == Found::nothing || (d.report.what == Found::uninitialised && message[0])) return false;
  write_report(d.report, d.at, message, size);
  return true;
}

}  // namespace emulate::races

using namespace emulate;
using namespace emulate::races;

/// From now on, on this thread, the barrier or wait there is left out; none where `line` is 0. `file` stays.
extern "C" V5_EXPORTED void v5_leave_out(const char *file, unsigned line) { mine().left_out = {file, line}; }

/// Calls `tell` with every barrier and wait that kernels have come to on this thread since the last call.
extern "C" V5_EXPORTED void v5_barriers_met(void (*tell)(void *, const char *file, unsigned line), void *with) {
  for (const Site &site : mine().met) tell(with, base_name(site.file), site.line);
  mine().met.clear();
}

void emulate::warp_reads(const void *from) { seen(from, 16, Kind::warp_read, __builtin_return_address(0)); }

#define V5_SEEN(name, size) \
  extern "C" void __tsan_read##name(void *at) { seen(at, size, Kind::read, __builtin_return_address(0)); } \
  extern "C" void __tsan_write##name(void *at) { seen(at, size, Kind::write, __builtin_return_address(0)); } \
  extern "C" void __tsan_unaligned_read##name(void *at) { \
    seen(at, size, Kind::read, __builtin_return_address(0)); \
  } \
  extern "C" void __tsan_unaligned_write##name(void *at) { \
    seen(at, size, Kind::write, __builtin_return_address(0)); \
  }
V5_SEEN(1, 1)
V5_SEEN(2, 2)
V5_SEEN(4, 4)
V5_SEEN(8, 8)
V5_SEEN(16, 16)
extern "C" void __tsan_read_range(void *at, size_t size) {
  seen(at, size, Kind::read, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void *at, size_t size) {
  seen(at, size, Kind::write, __builtin_return_address(0));
}
// clang calls these in place of the C library's.
extern "C" void *__tsan_memcpy(void *to, const void *from, size_t size) {
  seen(from, size, Kind::read, __builtin_return_address(0));
  seen(to, size, Kind::write, __builtin_return_address(0));
  return memcpy(to, from, size);
}
extern "C" void *__tsan_memset(void *to, int value, size_t size) {
  seen(to, size, Kind::write, __builtin_return_address(0));
  return memset(to, value, size);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
