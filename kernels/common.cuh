// What every kernel uses: element types, whole-register memory access, reductions, exported names.
//
// A kernel file holds one op's kernels, in a namespace of its own, as templates over the element type T of
// activations and matrices (float or bf16); vectors of parameters, reductions, recurrent states and gradients
// of parameters are float. `EXPORT` gives an instance the name under which the host launches it.
//
// Alignment: the first element of an activation or matrix lies on 256 bytes, of a parameter vector on 4.
// Nothing is atomic: the same launch gives the same bits.
#pragma once

#ifdef V5_EMULATE
#include "emulate.h"
#define EXPORT(name) static emulate::Register register_##name(#name, name);
#else
#include <cuda_bf16.h>
#include <math_constants.h>
#include <stdint.h>
#define SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#define EXPORT(name)
#endif

/// A kernel under the name by which the host launches it, for blocks of at most THREADS.
#define KERNEL(THREADS, name, parameters, call) \
  extern "C" __global__ void __launch_bounds__(THREADS) name parameters { call; } \
  EXPORT(name)

typedef __nv_bfloat16 bf16;

constexpr unsigned WARP = 32;
constexpr unsigned ALL = 0xffffffffu;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }
template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16(x); }

/// 16 bytes at once; both addresses on 16 bytes.
template <class T> struct Pack {
  static constexpr unsigned N = 16 / sizeof(T);
  alignas(16) T x[N];
};
template <class T> __device__ __forceinline__ Pack<T> load_pack(const T *from) {
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(from) % 16) emulate::fail("16 bytes read at %p, which is not aligned", from);
#endif
  Pack<T> p;
  *reinterpret_cast<uint4 *>(p.x) = *reinterpret_cast<const uint4 *>(from);
  return p;
}
template <class T> __device__ __forceinline__ void store_pack(T *to, const Pack<T> &p) {
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(to) % 16) emulate::fail("16 bytes written at %p, which is not aligned", to);
#endif
  *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(p.x);
}

/// 16 bytes from global to shared memory without waiting; `valid` false writes zeros.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool valid = true) {
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16))
    emulate::fail("asynchronous copy from %p to %p, which are not aligned", from, to);
  emulate::copy(to, valid ? from : nullptr);
#else
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#endif
}
#ifdef V5_EMULATE
inline void copy_commit(emulate::Site site = emulate::Site::here()) { emulate::commit(site); }
template <int PENDING> inline void copy_wait(emulate::Site site = emulate::Site::here()) { emulate::await(PENDING, site); }
#else
/// Ends a group of copies.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most PENDING of this thread's groups are under way. Others' copies need a barrier as well.
template <int PENDING> __device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

/// The sum over a warp, in every lane; always in the same order.
template <class F> __device__ __forceinline__ F warp_sum(F x) {
  for (unsigned mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(ALL, x, mask);
  return x;
}
/// The largest of a warp, in every lane. NaN wins.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ float warp_max(float x) {
  for (unsigned mask = 16; mask > 0; mask /= 2) x = larger(x, __shfl_xor_sync(ALL, x, mask));
  return x;
}
/// The sum over a block, in every thread; `scratch` has room for one per warp, and may be used again at once.
template <class F> __device__ __forceinline__ F block_sum(F x, F *scratch) {
  unsigned warps = blockDim.x / WARP;
  x = warp_sum(x);
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
  __syncthreads();
  F total = 0;
  for (unsigned i = 0; i < warps; i++) total += scratch[i];
  __syncthreads();
  return total;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }
__device__ __forceinline__ float silu_slope(float x) {
  float s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}
