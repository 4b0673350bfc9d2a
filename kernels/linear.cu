// Products with a single row, which decoding makes all the time: reading the weights is all there is to do, so
// bias and residual go along. y = residual + x W + b; either of the two may be missing.
//
// W as [out, in]: a warp per output, grid [out/8], 256 threads. W as [in, out]: 32 outputs a block, 128 stretches
// of the input side by side, grid [out/32], 512 threads, 16 KB shared. `likeliest`: one block of 1,024, 8 KB shared.
#include "common.cuh"

namespace v5::linear {

template <class T>
__device__ void row_out_in(const T *x, const T *w, const float *b, const T *residual, T *y, unsigned inner,
                           unsigned outer) {
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
  if (lane == 0) y[out] = narrow<T>(sum + (b ? b[out] : 0.0f) + (residual ? wide(residual[out]) : 0.0f));
}

constexpr unsigned COLUMNS = 32;

template <class T>
__device__ void row_in_out(const T *x, const T *w, const float *b, const T *residual, T *y, unsigned inner,
                           unsigned outer) {
  SHARED(raw);
  float *partial = reinterpret_cast<float *>(raw);
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
  if (threadIdx.x < COLUMNS && out < outer)
    y[out] = narrow<T>(partial[threadIdx.x] + (b ? b[out] : 0.0f) + (residual ? wide(residual[out]) : 0.0f));
}

/// The first of the largest of n logits, or n where one is not a number.
template <class T> __device__ void likeliest(const T *logits, unsigned *best, unsigned n) {
  SHARED(raw);
  float *values = reinterpret_cast<float *>(raw);
  unsigned *places = reinterpret_cast<unsigned *>(values + blockDim.x);
  // A NaN is larger than everything, and its place is n.
  auto better = [=](float a, unsigned i, float b, unsigned j) {
    if (i == n || j == n) return i == n;
    return a > b || (a == b && i < j);
  };
  float most = -INFINITY;
  unsigned place = threadIdx.x < n ? threadIdx.x : n - 1;
  for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
    float x = wide(logits[i]);
    unsigned at = x != x ? n : i;
    if (better(x, at, most, place)) most = x, place = at;
  }
  values[threadIdx.x] = most;
  places[threadIdx.x] = place;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    unsigned other = threadIdx.x + half;
    if (threadIdx.x < half && better(values[other], places[other], values[threadIdx.x], places[threadIdx.x])) {
      values[threadIdx.x] = values[other];
      places[threadIdx.x] = places[other];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) best[0] = places[0];
}

}  // namespace v5::linear

#define V5_INSTANCES(S, T) \
  KERNEL(256, row_out_in_##S, \
         (const T *x, const T *w, const float *b, const T *residual, T *y, unsigned inner, unsigned outer), \
         v5::linear::row_out_in(x, w, b, residual, y, inner, outer)) \
  KERNEL(512, row_in_out_##S, \
         (const T *x, const T *w, const float *b, const T *residual, T *y, unsigned inner, unsigned outer), \
         v5::linear::row_in_out(x, w, b, residual, y, inner, outer)) \
  KERNEL(1024, likeliest_##S, (const T *logits, unsigned *best, unsigned n), v5::linear::likeliest(logits, best, n))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
