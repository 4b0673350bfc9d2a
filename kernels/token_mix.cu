// RWKV-6's token shift and mixing (`src/ops/token_mix.rs`).
//
// Δ[t] = x[t−1] − x[t], x[−1] the tail. y_i = x + Δ·(μ_i + m_i) for up to five parts i, m_i [rows, d] the low-rank
// maps' outputs, all parts behind each other, or none.
//
// A thread has 16 bytes of a row where rows are whole packs, else as many elements one by one: grid
// [rows·ceil(d/N)/256] for N elements in 16 bytes, 256 threads, no shared memory. One pass makes all parts.
// `mix_row`, for a single row, makes the maps as well: grid [d/64, 5], 64 threads.
#include "vectors.cuh"

namespace v5::token_mix {

/// A thread's elements: `count` of row `row` from column `col` on.
struct Stretch {
  unsigned row, col, count;
};
template <class T> __device__ __forceinline__ Stretch stretch(unsigned rows, unsigned d) {
  constexpr unsigned N = Pack<T>::N;
  unsigned packs = (d + N - 1) / N, i = blockIdx.x * blockDim.x + threadIdx.x, row = i / packs;
  unsigned col = (i - row * packs) * N;
  return {row, col, row < rows ? min(N, d - col) : 0};
}

/// Whether a pack may be read or written there; what is missing is no obstacle.
__device__ __forceinline__ bool whole(const void *at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

/// `count` of N elements, widened; all of them at once where they are `packed`.
template <class T>
__device__ __forceinline__ void read(float (&to)[Pack<T>::N], const T *from, unsigned count, bool packed) {
  constexpr unsigned N = Pack<T>::N;
  if (packed) {
    load_few(to, from);
  } else {
#pragma unroll
    for (unsigned e = 0; e < N; e++) to[e] = e < count ? wide(from[e]) : 0.0f;
  }
}
template <class T>
__device__ __forceinline__ void write(T *to, const float (&x)[Pack<T>::N], unsigned count, bool packed) {
  constexpr unsigned N = Pack<T>::N;
  if (packed) {
    store_few(to, x);
  } else {
#pragma unroll
    for (unsigned e = 0; e < N; e++)
      if (e < count) to[e] = narrow<T>(x[e]);
  }
}
template <unsigned N>
__device__ __forceinline__ void read_vector(float (&to)[N], const float *from, unsigned count, bool packed) {
  if (packed) {
    load_floats(to, from);
  } else {
#pragma unroll
    for (unsigned e = 0; e < N; e++) to[e] = e < count ? from[e] : 0.0f;
  }
}

template <class T>
__device__ void shift_forward(const T *x, const T *tail, T *y, unsigned rows, unsigned d, unsigned time) {
  constexpr unsigned N = Pack<T>::N;
  Stretch s = stretch<T>(rows, d);
  if (s.count == 0) return;
  size_t at = size_t(s.row) * d + s.col;
  const T *previous = s.row % time == 0 ? tail + size_t(s.row / time) * d + s.col : x + at - d;
  bool packed = d % N == 0 && whole(x) && whole(tail) && whole(y);
  float before[N], now[N];
  read(before, previous, s.count, packed);
  read(now, x + at, s.count, packed);
#pragma unroll
  for (unsigned e = 0; e < N; e++) now[e] = before[e] - now[e];
  write(y + at, now, s.count, packed);
}

template <class T> __device__ void shift_backward(const T *dy, T *dx, unsigned rows, unsigned d, unsigned time) {
  constexpr unsigned N = Pack<T>::N;
  Stretch s = stretch<T>(rows, d);
  if (s.count == 0) return;
  size_t at = size_t(s.row) * d + s.col;
  bool packed = d % N == 0 && whole(dy) && whole(dx);
  float after[N] = {}, now[N];
  if (s.row % time + 1 < time) read(after, dy + at + d, s.count, packed);
  read(now, dy + at, s.count, packed);
#pragma unroll
  for (unsigned e = 0; e < N; e++) now[e] = after[e] - now[e];
  write(dx + at, now, s.count, packed);
}

template <class P> struct Five {
  P part[5];
};

template <class T>
__device__ void mix_forward(const T *x, const T *delta, const T *m, Five<const float *> mu, Five<T *> y,
                            unsigned rows, unsigned d) {
  constexpr unsigned N = Pack<T>::N;
  Stretch s = stretch<T>(rows, d);
  if (s.count == 0) return;
  size_t n = size_t(rows) * d, at = size_t(s.row) * d + s.col;
  bool packed = d % N == 0 && whole(x) && whole(delta) && whole(m);
#pragma unroll
  for (unsigned i = 0; i < 5; i++) packed = packed && whole(y.part[i]);
  float now[N], change[N];
  read(now, x + at, s.count, packed);
  read(change, delta + at, s.count, packed);
#pragma unroll
  for (unsigned i = 0; i < 5; i++)
    if (y.part[i]) {
      float by[N], more[N] = {};
      read_vector(by, mu.part[i] + s.col, s.count, packed);
      if (m) read(more, m + i * n + at, s.count, packed);
#pragma unroll
      for (unsigned e = 0; e < N; e++) more[e] = now[e] + change[e] * (by[e] + more[e]);
      write(y.part[i] + at, more, s.count, packed);
    }
}

/// A single row, m_i = a_i W₂_i included and rounded as if it had been stored. One part for each y of the grid.
template <class T>
__device__ void mix_row(const T *x, const T *delta, const T *a, const T *w2, Five<const float *> mu, Five<T *> y,
                        unsigned d, unsigned rank) {
  unsigned col = blockIdx.x * blockDim.x + threadIdx.x, part = blockIdx.y;
  if (col >= d) return;
  const float *by = mu.part[0];
  T *to = y.part[0];
#pragma unroll
  for (unsigned i = 1; i < 5; i++)
    if (i == part) by = mu.part[i], to = y.part[i];
  const T *left = a + part * rank, *right = w2 + size_t(part) * rank * d + col;
  float map = 0;
#pragma unroll 8
  for (unsigned r = 0; r < rank; r++) map += wide(left[r]) * wide(right[size_t(r) * d]);
  to[col] = narrow<T>(wide(x[col]) + wide(delta[col]) * (by[col] + wide(narrow<T>(map))));
}

/// dx = Σ dy_i, dΔ = Σ dy_i·(μ_i + m_i), dm_i = dy_i·Δ (zeros where there is no dy_i).
template <class T>
__device__ void mix_backward(const T *delta, const T *m, Five<const float *> mu, Five<const T *> dy, T *dx,
                             T *ddelta, T *dm, unsigned rows, unsigned d, unsigned parts) {
  constexpr unsigned N = Pack<T>::N;
  Stretch s = stretch<T>(rows, d);
  if (s.count == 0) return;
  size_t n = size_t(rows) * d, at = size_t(s.row) * d + s.col;
  bool packed = d % N == 0 && whole(delta) && whole(m) && whole(dx) && whole(ddelta) && whole(dm);
#pragma unroll
  for (unsigned i = 0; i < 5; i++) packed = packed && whole(dy.part[i]);
  float change[N], sum[N] = {}, along[N] = {};
  read(change, delta + at, s.count, packed);
#pragma unroll
  for (unsigned i = 0; i < 5; i++)
    if (i < parts) {
      float g[N] = {}, by[N], more[N] = {};
      if (dy.part[i]) read(g, dy.part[i] + at, s.count, packed);
      read_vector(by, mu.part[i] + s.col, s.count, packed);
      if (m) read(more, m + i * n + at, s.count, packed);
#pragma unroll
      for (unsigned e = 0; e < N; e++) {
        sum[e] += g[e];
        along[e] += g[e] * (by[e] + more[e]);
        g[e] *= change[e];
      }
      write(dm + i * n + at, g, s.count, packed);
    }
  write(dx + at, sum, s.count, packed);
  write(ddelta + at, along, s.count, packed);
}

}  // namespace v5::token_mix

#define V5_INSTANCES(S, T) \
  KERNEL(256, shift_forward_##S, (const T *x, const T *tail, T *y, unsigned rows, unsigned d, unsigned time), \
         v5::token_mix::shift_forward(x, tail, y, rows, d, time)) \
  KERNEL(256, shift_backward_##S, (const T *dy, T *dx, unsigned rows, unsigned d, unsigned time), \
         v5::token_mix::shift_backward(dy, dx, rows, d, time)) \
  KERNEL(256, mix_forward_##S, \
         (const T *x, const T *delta, const T *m, const float *mu0, const float *mu1, const float *mu2, \
          const float *mu3, const float *mu4, T *y0, T *y1, T *y2, T *y3, T *y4, unsigned rows, unsigned d), \
         v5::token_mix::mix_forward(x, delta, m, {{mu0, mu1, mu2, mu3, mu4}}, {{y0, y1, y2, y3, y4}}, rows, d)) \
  KERNEL(64, mix_row_##S, \
         (const T *x, const T *delta, const T *a, const T *w2, const float *mu0, const float *mu1, const float *mu2, \
          const float *mu3, const float *mu4, T *y0, T *y1, T *y2, T *y3, T *y4, unsigned d, unsigned rank), \
         v5::token_mix::mix_row(x, delta, a, w2, {{mu0, mu1, mu2, mu3, mu4}}, {{y0, y1, y2, y3, y4}}, d, rank)) \
  KERNEL(256, mix_backward_##S, \
         (const T *delta, const T *m, const float *mu0, const float *mu1, const float *mu2, const float *mu3, \
          const float *mu4, const T *dy0, const T *dy1, const T *dy2, const T *dy3, const T *dy4, T *dx, \
          T *ddelta, T *dm, unsigned rows, unsigned d, unsigned parts), \
         v5::token_mix::mix_backward(delta, m, {{mu0, mu1, mu2, mu3, mu4}}, {{dy0, dy1, dy2, dy3, dy4}}, dx, \
                                     ddelta, dm, rows, d, parts))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
