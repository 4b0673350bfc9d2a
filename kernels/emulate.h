// Runs kernels written for a GPU on a CPU, so that their source can be tested where there is none.
//
// Every thread of a block is a fiber; barriers and warp operations are where fibers change. Which fiber goes
// first is drawn anew each time, so what lacks a barrier comes out differently with another seed. Shared memory
// starts as NaN. Blocks run one after the other, in random order. What it cannot see: registers and time.
//
// Compiled a second time with V5_RACES, it also sees every access to memory, and says which of them nothing orders
// (`races.cpp`).
//
// Only what the kernels use is here. Warps are whole (blockDim.x a multiple of 32) and warp operations take all
// 32 lanes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __restrict__

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

/// bfloat16: the upper half of a float.
struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) {
  uint32_t wide = uint32_t(x.bits) << 16;
  float y;
  memcpy(&y, &wide, 4);
  return y;
}
/// To the nearest, ties to even; NaN stays NaN.
inline __nv_bfloat16 __float2bfloat16(float x) {
  uint32_t wide;
  memcpy(&wide, &x, 4);
  if (x != x) return {uint16_t(0x7fff)};
  wide += 0x7fff + ((wide >> 16) & 1);
  return {uint16_t(wide >> 16)};
}

/// What belongs to the emulator, not to a kernel: its accesses to memory are not looked at.
#ifdef V5_RACES
#define V5_QUIET inline __attribute__((noinline, no_sanitize("thread")))
#else
#define V5_QUIET inline
#endif

namespace emulate {

/// What a fiber waits for: its warp in a warp operation or at __syncwarp, or its block.
enum class Wait { nothing, warp, warp_barrier, block, done };

/// Where a kernel waits; `here()` as a default argument is where the call stands.
struct Site {
  const char *file;
  unsigned line;
  static constexpr Site here(const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

struct Copy {
  void *to;
  bool arrived;
  unsigned char bytes[16];
};

struct Fiber {
  void *stack_pointer;
  uint3 thread;
  unsigned number;
  Wait wait;
  Site site;            // where it waits
  unsigned warp_round;  // which of its warp's two mail buffers is next
  std::vector<std::vector<Copy>> copies;  // committed groups of asynchronous copies; the last is open
};

/// What the lanes of a warp tell each other.
struct Mail {
  alignas(16) unsigned char lanes[2][32][64];
};

struct Block {
  uint3 index, size, grid;
  unsigned char *shared;
  unsigned shared_bytes;
  std::vector<Mail> mail;
};

extern thread_local Block *block;
extern thread_local Fiber *self;

/// Gives way until all of the warp, or of the block, have come here.
void wait(Wait what, Site site);
/// An asynchronous copy of 16 bytes, or of as many zeros where `from` is null; the end of a group of them; and
/// waiting until at most `pending` groups of this thread are under way.
void copy(void *to, const void *from);
void commit(Site site);
void await(unsigned pending, Site site);
/// Ends the launch with a message.
[[noreturn]] void fail(const char *format, ...);

V5_QUIET unsigned lane() { return self->number % 32; }
/// What a pointer points to, where it is the hardware that reads it and not this lane.
template <class T> V5_QUIET T peek(const T *from) { return *from; }
#ifdef V5_RACES
/// The warp as a whole reads 16 bytes.
void warp_reads(const void *from);
#else
inline void warp_reads(const void *) {}
#endif

/// Publishes `mine` to the warp, and returns a function's view of everybody's.
template <class T> struct Told {
  unsigned char (*lanes)[64];
  const T &operator[](unsigned lane) const { return *reinterpret_cast<const T *>(lanes[lane]); }
};
template <class T> V5_QUIET Told<T> tell(const T &mine, Site site) {
  static_assert(sizeof(T) <= 64, "a lane's mail is 64 bytes");
  auto &lanes = block->mail[self->number / 32].lanes[self->warp_round++ % 2];
  memcpy(lanes[lane()], &mine, sizeof(T));
  wait(Wait::warp, site);
  return {lanes};
}

/// One argument as the host passes it.
struct Argument {
  uint64_t bits;
  uint32_t kind;  // 0 f32 pointer, 1 bf16 pointer, 2 u32 pointer, 3 f64 pointer, 10 u32, 11 f32; 100 null
};

template <class T> struct Take;
template <> struct Take<unsigned> {
  static bool fits(uint32_t kind) { return kind == 10; }
  static unsigned from(Argument a) { return unsigned(a.bits); }
};
template <> struct Take<float> {
  static bool fits(uint32_t kind) { return kind == 11; }
  static float from(Argument a) {
    float x;
    uint32_t bits = uint32_t(a.bits);
    memcpy(&x, &bits, 4);
    return x;
  }
};
template <class T> struct Take<T *> {
  using U = std::remove_const_t<T>;
  static constexpr uint32_t want =
      std::is_same_v<U, float> ? 0 : std::is_same_v<U, __nv_bfloat16> ? 1 : std::is_same_v<U, unsigned> ? 2 : 3;
  static bool fits(uint32_t kind) { return kind == want || kind == 100; }
  static T *from(Argument a) { return reinterpret_cast<T *>(a.bits); }
};

/// A kernel under its name, whatever its parameters.
struct Kernel {
  const char *name;
  unsigned parameters;
  /// The first argument that does not fit, or -1.
  int (*check)(const Argument *);
  void (*call)(const void *function, const Argument *);
  const void *function;
  Kernel *next;
};
extern Kernel *kernels;

template <class... A> struct Caller {
  template <size_t... I> static int check_at(const Argument *a, std::index_sequence<I...>) {
    int bad = -1;
    ((bad < 0 && !Take<A>::fits(a[I].kind) ? void(bad = int(I)) : void()), ...);
    return bad;
  }
  static int check(const Argument *a) { return check_at(a, std::index_sequence_for<A...>()); }
  template <size_t... I>
  V5_QUIET static void call_at(void (*f)(A...), const Argument *a, std::index_sequence<I...>) {
    f(Take<A>::from(a[I])...);
  }
  static void call(const void *f, const Argument *a) {
    call_at(reinterpret_cast<void (*)(A...)>(const_cast<void *>(f)), a, std::index_sequence_for<A...>());
  }
};

struct Register {
  Kernel kernel;
  template <class... A>
  Register(const char *name, void (*f)(A...))
      : kernel{name, sizeof...(A), Caller<A...>::check, Caller<A...>::call,
               reinterpret_cast<const void *>(f), kernels} {
    kernels = &kernel;
  }
};

}  // namespace emulate

#ifdef V5_RACES
namespace emulate {
// Always the same for a fiber, and read where nobody looks.
__attribute__((const)) uint3 thread_index();
__attribute__((const)) uint3 block_index();
__attribute__((const)) uint3 block_size();
__attribute__((const)) uint3 grid_size();
__attribute__((const)) unsigned char *shared_memory();
}  // namespace emulate
#define threadIdx (emulate::thread_index())
#define blockIdx (emulate::block_index())
#define blockDim (emulate::block_size())
#define gridDim (emulate::grid_size())
#define SHARED(name) unsigned char *name = emulate::shared_memory()
#else
#define threadIdx (emulate::self->thread)
#define blockIdx (emulate::block->index)
#define blockDim (emulate::block->size)
#define gridDim (emulate::block->grid)
#define SHARED(name) unsigned char *name = emulate::block->shared
#endif

inline void __syncthreads(emulate::Site site = emulate::Site::here()) { emulate::wait(emulate::Wait::block, site); }
inline void __syncwarp(emulate::Site site = emulate::Site::here()) { emulate::wait(emulate::Wait::warp_barrier, site); }
template <class T> inline T __shfl_sync(unsigned, T x, unsigned from, emulate::Site site = emulate::Site::here()) {
  return emulate::tell(x, site)[from % 32];
}
template <class T> inline T __shfl_xor_sync(unsigned, T x, unsigned mask, emulate::Site site = emulate::Site::here()) {
  return emulate::tell(x, site)[emulate::lane() ^ mask];
}
template <class T> inline T __shfl_up_sync(unsigned, T x, unsigned by, emulate::Site site = emulate::Site::here()) {
  auto all = emulate::tell(x, site);
  unsigned lane = emulate::lane();
  return lane < by ? x : all[lane - by];
}
template <class T> inline T __shfl_down_sync(unsigned, T x, unsigned by, emulate::Site site = emulate::Site::here()) {
  auto all = emulate::tell(x, site);
  unsigned lane = emulate::lane();
  return lane + by > 31 ? x : all[lane + by];
}

using std::isfinite;
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
template <class T> inline T __ldg(const T *x) { return *x; }
template <class T> inline void __stcg(T *to, T x) {
  if (reinterpret_cast<uintptr_t>(to) % sizeof(T)) emulate::fail("%zu bytes written at %p", sizeof(T), (void *)to);
  *to = x;
}
