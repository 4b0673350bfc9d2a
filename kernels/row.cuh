// Products with a single row, x W: reading the weights is all there is to do.
//
// W as [out, in]: a warp per output, a block has blockDim.x/32. W as [in, out]: 32 outputs a block, 4 (float) or 8
// (bf16) neighbours a thread, and as many stretches of the input side by side as there are threads.
#pragma once

#include "common.cuh"

namespace v5::row {

/// f(out, sum) once for each of the block's outputs; x may lie in shared memory.
template <class T, class F>
__device__ __forceinline__ void out_in(const T *x, const T *w, unsigned inner, unsigned outer, F f) {
  constexpr unsigned N = Pack<T>::N;
  unsigned out = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
  if (out >= outer) return;
  const T *row = w + size_t(out) * inner;
  float sum = 0;
  bool aligned = (reinterpret_cast<uintptr_t>(row) | reinterpret_cast<uintptr_t>(x)) % 16 == 0;
  unsigned whole = aligned ? inner / N * N : 0;
  for (unsigned i = lane * N; i < whole; i += WARP * N) {
    Pack<T> p = load_pack(row + i), q = load_pack(x + i);
#pragma unroll
    for (unsigned e = 0; e < N; e++) sum += wide(p.x[e]) * wide(q.x[e]);
  }
  for (unsigned i = whole + lane; i < inner; i += WARP) sum += wide(row[i]) * wide(x[i]);
  sum = warp_sum(sum);
  if (lane == 0) f(out, sum);
}

constexpr unsigned COLUMNS = 32;

/// The same for W as [in, out]. `partial`: 16·blockDim.x bytes of shared memory for float, 32 for bf16.
template <class T, class F>
__device__ __forceinline__ void in_out(const T *x, const T *w, unsigned inner, unsigned outer, float *partial, F f) {
  constexpr unsigned N = Pack<T>::N, TEAM = COLUMNS / N;
  unsigned teams = blockDim.x / TEAM, team = threadIdx.x / TEAM;
  unsigned first = blockIdx.x * COLUMNS + threadIdx.x % TEAM * N;
  float sum[N] = {};
  if (first < outer) {
    bool aligned = first + N <= outer && outer % N == 0 && reinterpret_cast<uintptr_t>(w) % 16 == 0;
    for (unsigned i = team; i < inner; i += teams) {
      const T *at = w + size_t(i) * outer + first;
      float by = wide(x[i]);
      if (aligned) {
        Pack<T> p = load_pack(at);
#pragma unroll
        for (unsigned e = 0; e < N; e++) sum[e] += by * wide(p.x[e]);
      } else {
#pragma unroll
        for (unsigned e = 0; e < N; e++)
          if (first + e < outer) sum[e] += by * wide(at[e]);
      }
    }
  }
  // Rows of teams, added up by the first threads in the order of teams.
#pragma unroll
  for (unsigned e = 0; e < N; e++) partial[team * COLUMNS + threadIdx.x % TEAM * N + e] = sum[e];
  __syncthreads();
  for (unsigned half = teams / 2; half > 0; half /= 2) {
    for (unsigned i = threadIdx.x; i < half * COLUMNS; i += blockDim.x) partial[i] += partial[half * COLUMNS + i];
    __syncthreads();
  }
  unsigned out = blockIdx.x * COLUMNS + threadIdx.x;
  if (threadIdx.x < COLUMNS && out < outer) f(out, partial[threadIdx.x]);
}

/// Shared memory from its start on, and from behind a row of `size` elements on.
template <class T = float> __device__ __forceinline__ T *start() {
  SHARED(raw);
  return reinterpret_cast<T *>(raw);
}
template <class T> __device__ __forceinline__ float *behind(unsigned size) {
  constexpr unsigned N = Pack<T>::N;
  return start() + (size + N - 1) / N * 4;
}

}  // namespace v5::row
