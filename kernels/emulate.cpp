// The scheduler behind emulate.h, and the one function through which the host launches a kernel.
#include <cstdarg>
#include <random>

#include "races.h"

namespace emulate {

thread_local Block *block;
thread_local Fiber *self;
Kernel *kernels;

namespace {

constexpr size_t STACK = 128 * 1024;
/// Bytes of what the host is told at most.
constexpr size_t MESSAGE = 2048;

struct Launch {
  std::vector<Fiber> fibers;
  void *scheduler;
  const Kernel *kernel;
  const Argument *arguments;
  std::mt19937 random;
  bool failed;
  char message[MESSAGE];
};
thread_local Launch *launch;

/// Memory of the fibers' stacks, kept from launch to launch; untouched pages cost nothing.
struct Stacks {
  unsigned char *start = nullptr;
  size_t count = 0;
  ~Stacks() { free(start); }
  unsigned char *of(size_t fibers) {
    if (fibers > count) {
      free(start);
      start = static_cast<unsigned char *>(malloc(fibers * STACK));
      count = fibers;
    }
    if (!start) abort();
    return start;
  }
};
thread_local Stacks stacks;

#if defined(__x86_64__)
// Callee-saved registers go on the stack that is left, and come from the one that is entered.
asm(R"(
  .text
  .globl v5_emulate_switch
  .type v5_emulate_switch, @function
v5_emulate_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size v5_emulate_switch, .-v5_emulate_switch
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl v5_emulate_switch
v5_emulate_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "emulated kernels know the stacks of x86-64 and aarch64 only"
#endif
extern "C" void v5_emulate_switch(void **save, void *load);

void leave() { v5_emulate_switch(&self->stack_pointer, launch->scheduler); }

void enter_kernel() {
  launch->kernel->call(launch->kernel->function, launch->arguments);
  self->wait = Wait::done;
  leave();
  abort();
}

void prepare(Fiber &fiber, unsigned char *stack) {
  // 16-byte aligned as before a call; above the registers lies the address to return to.
  auto top = reinterpret_cast<uintptr_t>(stack + STACK) & ~uintptr_t(15);
  auto entry = reinterpret_cast<uint64_t>(&enter_kernel);
#if defined(__x86_64__)
  auto words = reinterpret_cast<uint64_t *>(top) - 8;
  memset(words, 0, 64);
  words[6] = entry;
#else
  auto words = reinterpret_cast<uint64_t *>(top) - 20;
  memset(words, 0, 160);
  words[11] = entry;
#endif
  fiber.stack_pointer = words;
  fiber.wait = Wait::nothing;
  fiber.warp_round = 0;
  fiber.copies.clear();
}

/// Whether all of some fibers wait in the same place; else says where two of them do not.
bool together(const char *whose, const Fiber *fibers, size_t count) {
  for (size_t i = 1; i < count; i++) {
    const Fiber &a = fibers[0], &b = fibers[i];
    bool same_file = a.site.file == b.site.file || !strcmp(a.site.file, b.site.file);
    if (a.wait == b.wait && a.site.line == b.site.line && same_file) continue;
    launch->failed = true;
    snprintf(launch->message, MESSAGE,
             "divergent: of the same %s thread %u waits at %s:%u, thread %u at %s:%u (block %u, %u, %u)", whose,
             a.number, base_name(a.site.file), a.site.line, b.number, base_name(b.site.file), b.site.line,
             block->index.x, block->index.y, block->index.z);
    return false;
  }
  return true;
}

/// Runs the fibers of a block until all have ended.
void run_block(std::mt19937 &random) {
  auto &fibers = launch->fibers;
  std::vector<unsigned> warps(fibers.size() / 32), lanes(32);
  for (unsigned i = 0; i < warps.size(); i++) warps[i] = i;
  for (unsigned i = 0; i < 32; i++) lanes[i] = i;
  auto shuffle = [&](std::vector<unsigned> &x) {
    for (size_t i = x.size(); i > 1; i--) std::swap(x[i - 1], x[random() % i]);
  };
  // Between two barriers the warps either take turns, or each runs as far as it can before another moves.
  bool turns = random() % 2;
  for (;;) {
    bool ran = false;
    shuffle(warps);
    for (size_t next = 0; next < warps.size();) {
      unsigned warp = warps[next];
      bool moved = false;
      shuffle(lanes);
      unsigned waiting = 0, ended = 0;
      for (unsigned lane : lanes) {
        Fiber &fiber = fibers[warp * 32 + lane];
        if (fiber.wait == Wait::nothing) {
          moved = true;
          self = &fiber;
          races::enters(fiber);
          v5_emulate_switch(&launch->scheduler, fiber.stack_pointer);
          if (launch->failed) return;
        }
        waiting += fiber.wait == Wait::warp || fiber.wait == Wait::warp_barrier;
        ended += fiber.wait == Wait::done;
      }
      if (waiting == 32) {
        if (!together("warp", &fibers[warp * 32], 32)) return;
        races::meets(warp);
        if (fibers[warp * 32].wait == Wait::warp_barrier) races::joins(warp);
        for (unsigned lane = 0; lane < 32; lane++) fibers[warp * 32 + lane].wait = Wait::nothing;
        moved = true;
      } else if (waiting && waiting + ended == 32) {
        launch->failed = true;
        snprintf(launch->message, MESSAGE, "divergent: warp %u: %u lanes at a warp operation, %u have ended", warp,
                 waiting, ended);
        return;
      }
      ran |= moved;
      if (turns || !moved) next++;
    }
    if (ran) continue;
    unsigned at_barrier = 0, ended = 0;
    for (auto &fiber : fibers) at_barrier += fiber.wait == Wait::block, ended += fiber.wait == Wait::done;
    if (ended == fibers.size()) return;
    if (at_barrier != fibers.size()) {
      launch->failed = true;
      snprintf(launch->message, MESSAGE,
               "divergent: %u of %zu threads at __syncthreads, %u have ended, the others wait in their warp",
               at_barrier, fibers.size(), ended);
      return;
    }
    if (!together("block", fibers.data(), fibers.size())) return;
    races::joins();
    for (auto &fiber : fibers) fiber.wait = Wait::nothing;
    turns = random() % 2;
  }
}

}  // namespace

#ifdef V5_RACES
uint3 thread_index() { return self->thread; }
uint3 block_index() { return block->index; }
uint3 block_size() { return block->size; }
uint3 grid_size() { return block->grid; }
unsigned char *shared_memory() { return block->shared; }
#endif

void wait(Wait what, Site site) {
  if (what != Wait::warp && races::left_out(site)) return;
  self->wait = what;
  self->site = site;
  leave();
}

void copy(void *to, const void *from) {
  races::copies(to, from, __builtin_return_address(0));
  Copy copy{to, false, {}};
  if (from) memcpy(copy.bytes, from, 16);
  // It arrives at once or when it is waited for: neither may matter.
  copy.arrived = launch->random() % 2;
  if (copy.arrived) memcpy(to, copy.bytes, 16);
  auto &groups = self->copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back(copy);
}

void commit(Site site) {
  if (races::left_out(site)) return;
  auto &groups = self->copies;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void await(unsigned pending, Site site) {
  if (races::left_out(site)) return;
  auto &groups = self->copies;
  while (groups.size() > pending + 1) {
    for (auto &copy : groups.front()) {
      if (!copy.arrived) memcpy(copy.to, copy.bytes, 16);
      races::arrives(copy.to);
    }
    groups.erase(groups.begin());
  }
}

void stop() {
  launch->failed = true;
  leave();
  abort();
}

void fail(const char *format, ...) {
  va_list more;
  va_start(more, format);
  int n = snprintf(launch->message, MESSAGE, "block (%u, %u, %u), thread %u: ", block->index.x,
                   block->index.y, block->index.z, self->number);
  vsnprintf(launch->message + n, MESSAGE - n, format, more);
  va_end(more);
  stop();
}

}  // namespace emulate

using namespace emulate;

/// Runs a kernel; 0, or 1 with the reason in `message` (2048 bytes).
extern "C" V5_EXPORTED int v5_emulate(const char *name, const unsigned *grid, const unsigned *size, unsigned shared_bytes,
                          const Argument *arguments, unsigned count, unsigned seed, char *message) {
  const Kernel *kernel = kernels;
  while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
  if (!kernel) return snprintf(message, MESSAGE, "no kernel of that name"), 1;
  if (kernel->parameters != count)
    return snprintf(message, MESSAGE, "%u arguments, the kernel takes %u", count, kernel->parameters), 1;
  if (int bad = kernel->check(arguments); bad >= 0)
    return snprintf(message, MESSAGE, "argument %d is of another type than the parameter", bad), 1;
  unsigned threads = size[0] * size[1] * size[2];
  if (threads == 0 || threads > 1024 || threads % 32 || size[1] != 1 || size[2] != 1)
    return snprintf(message, MESSAGE, "%u x %u x %u threads", size[0], size[1], size[2]), 1;
  if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535)
    return snprintf(message, MESSAGE, "%u x %u x %u blocks", grid[0], grid[1], grid[2]), 1;

  Launch now{};
  now.fibers.resize(threads);
  unsigned char *room = stacks.of(threads);
  now.kernel = kernel;
  now.arguments = arguments;
  Block one{};
  one.size = {size[0], size[1], size[2]};
  one.grid = {grid[0], grid[1], grid[2]};
  one.mail.resize(threads / 32);
  // A margin of bytes on either side shows what is written beyond the end.
  constexpr unsigned MARGIN = 1024;
  std::vector<unsigned char> shared(shared_bytes + 2 * MARGIN + 128);
  auto start = (reinterpret_cast<uintptr_t>(shared.data()) + MARGIN + 127) & ~uintptr_t(127);
  one.shared = reinterpret_cast<unsigned char *>(start);
  one.shared_bytes = shared_bytes;
  launch = &now;
  block = &one;
  races::begins({name, arguments, count, room, STACK, threads, one.mail.data(), shared.data(), shared.size()});

  now.random.seed(seed);
  auto &random = now.random;
  size_t blocks = size_t(grid[0]) * grid[1] * grid[2];
  std::vector<size_t> order(blocks);
  for (size_t i = 0; i < blocks; i++) order[i] = i;
  for (size_t i = blocks; i > 1; i--) std::swap(order[i - 1], order[random() % i]);
  for (size_t which : order) {
    one.index = {unsigned(which % grid[0]), unsigned(which / grid[0] % grid[1]), unsigned(which / grid[0] / grid[1])};
    memset(shared.data(), 0xff, shared.size());
    for (unsigned i = 0; i < threads; i++) {
      now.fibers[i].number = i;
      now.fibers[i].thread = {i, 0, 0};
      prepare(now.fibers[i], room + size_t(i) * STACK);
    }
    races::next_block();
    run_block(random);
    for (unsigned i = 0; i < MARGIN && !now.failed; i++)
      if (one.shared[-1 - int(i)] != 0xff || one.shared[shared_bytes + i] != 0xff) {
        now.failed = true;
        snprintf(now.message, MESSAGE, "written outside the %u bytes of shared memory", shared_bytes);
      }
    if (now.failed) break;
  }
  now.failed |= races::ends(now.message, MESSAGE);
  launch = nullptr;
  if (now.failed) memcpy(message, now.message, MESSAGE);
  return now.failed;
}
