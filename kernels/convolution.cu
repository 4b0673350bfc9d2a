// Mamba-2's short causal depth-wise convolution followed by SiLU (`src/ops/convolution.rs`):
// y[t] = SiLU(z[t]), z[t] = b + Σⱼ W[c, j]·x[t − (K−1) + j], x before the first position from the tail [B, K−1, C].
//
// A thread takes STEPS positions of W channels of one sequence, and the last K inputs are in registers. Four
// channels, where K is 4 and C, x, y and the gradients' addresses are multiples of four elements: names end in _4,
// grid [B·chunks, C/512], 128 threads. Else one, and K at most 8: grid [B·chunks, C/256], 256 threads. No shared
// memory. `tail`: grid [B·(K−1)·C/256], 256 threads.
#include "vectors.cuh"

namespace v5::convolution {

constexpr unsigned STEPS = 32;

/// Taps that there are registers for.
template <unsigned W> constexpr unsigned TAPS = W == 4 ? 4 : 8;

/// The first channel, and which positions.
struct Where {
  unsigned channel, sequence, first, last;
};

template <unsigned W> __device__ __forceinline__ Where where(unsigned time) {
  unsigned chunks = (time + STEPS - 1) / STEPS, first = blockIdx.x % chunks * STEPS;
  return {(blockIdx.y * blockDim.x + threadIdx.x) * W, blockIdx.x / chunks, first, min(first + STEPS, time)};
}

/// x at position t, which may lie before the start (the tail) or behind the end (zero).
template <unsigned W, class T>
__device__ __forceinline__ void input(float (&to)[W], const T *x, const T *tail, Where at, int t, unsigned time,
                                      unsigned channels, unsigned taps) {
#pragma unroll
  for (unsigned c = 0; c < W; c++) to[c] = 0.0f;
  if (t >= int(time)) return;
  if (t >= 0) load_few(to, x + (size_t(at.sequence) * time + t) * channels + at.channel);
  else load_few(to, tail + (size_t(at.sequence) * (taps - 1) + (taps - 1) + t) * channels + at.channel);
}

/// A filter of K taps for each of W channels, and what it lies over.
template <unsigned W> struct Window {
  float filter[TAPS<W>][W], x[TAPS<W>][W];

  /// W[c, j], or from the last tap to the first.
  __device__ __forceinline__ void filters(const float *w, unsigned channel, unsigned taps, bool turned) {
#pragma unroll
    for (unsigned j = 0; j < TAPS<W>; j++)
#pragma unroll
      for (unsigned c = 0; c < W; c++)
        filter[j][c] = j < taps ? w[size_t(channel + c) * taps + (turned ? taps - 1 - j : j)] : 0.0f;
  }
  /// One position on.
  __device__ __forceinline__ void push(const float (&now)[W], unsigned taps) {
#pragma unroll
    for (unsigned j = 0; j < TAPS<W>; j++)
#pragma unroll
      for (unsigned c = 0; c < W; c++) x[j][c] = j + 1 < taps ? x[j + 1 < TAPS<W> ? j + 1 : j][c] : now[c];
  }
  /// z += filter over x.
  __device__ __forceinline__ void add(float (&z)[W], unsigned taps) const {
#pragma unroll
    for (unsigned j = 0; j < TAPS<W>; j++)
#pragma unroll
      for (unsigned c = 0; c < W; c++)
        if (j < taps) z[c] += filter[j][c] * x[j][c];
  }
};

/// f(t, z, window) for every position of this thread, window.x[j] = x[t − (K−1) + j].
template <unsigned W, class T, class F>
__device__ __forceinline__ void each(const T *x, const float *w, const float *b, const T *tail, Where at,
                                     unsigned time, unsigned channels, unsigned taps, F f) {
  Window<W> window;
  window.filters(w, at.channel, taps, false);
  float bias[W];
#pragma unroll
  for (unsigned c = 0; c < W; c++) bias[c] = b[at.channel + c];
#pragma unroll
  for (unsigned j = 0; j < TAPS<W>; j++)
#pragma unroll
    for (unsigned c = 0; c < W; c++) window.x[j][c] = 0.0f;
  // The newest input enters at the top of the window when its position comes.
#pragma unroll
  for (unsigned j = 1; j < TAPS<W>; j++)
    if (j < taps)
      input(window.x[j], x, tail, at, int(at.first) - int(taps) + int(j), time, channels, taps);
  const T *from = x + (size_t(at.sequence) * time + at.first) * channels + at.channel;
#pragma unroll(W == 4 ? 4 : 1)
  for (unsigned t = at.first; t < at.last; t++, from += channels) {
    float now[W], z[W];
    load_few(now, from);
    window.push(now, taps);
#pragma unroll
    for (unsigned c = 0; c < W; c++) z[c] = bias[c];
    window.add(z, taps);
    f(t, z, window);
  }
}

template <unsigned W, class T>
__device__ __forceinline__ void forward(const T *x, const float *w, const float *b, const T *tail, T *y,
                                        unsigned time, unsigned channels, unsigned taps) {
  Where at = where<W>(time);
  if (at.channel >= channels) return;
  T *to = y + size_t(at.sequence) * time * channels + at.channel;
  each<W>(x, w, b, tail, at, time, channels, taps, [&](unsigned t, float (&z)[W], const Window<W> &) {
#pragma unroll
    for (unsigned c = 0; c < W; c++) z[c] = silu<T>(z[c]);
    store_few(to + size_t(t) * channels, z);
  });
}

/// The last K−1 inputs, [B, K−1, C]. A thread per element.
template <class T>
__device__ void tail(const T *x, const T *before, T *after, unsigned batch, unsigned time, unsigned channels,
                     unsigned taps) {
  size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x, size = size_t(taps - 1) * channels;
  if (i >= batch * size) return;
  Where at{unsigned(i % channels), unsigned(i / size), 0, 0};
  int t = int(i % size / channels) + int(time) - int(taps - 1);
  float last[1];
  input(last, x, before, at, t, time, channels, taps);
  after[i] = narrow<T>(last[0]);
}

/// dz = dy·SiLU'(z), and this thread's part of dW and db: partial [B·chunks, C·(K+1)], db behind dW.
template <unsigned W, class T>
__device__ __forceinline__ void slopes(const T *x, const float *w, const float *b, const T *tail, const T *dy,
                                       T *dz, float *partial, unsigned time, unsigned channels, unsigned taps) {
  Where at = where<W>(time);
  if (at.channel >= channels) return;
  float dw[TAPS<W>][W] = {}, db[W] = {};
  size_t start = size_t(at.sequence) * time * channels + at.channel;
  each<W>(x, w, b, tail, at, time, channels, taps, [&](unsigned t, const float (&z)[W], const Window<W> &window) {
    float g[W];
    load_few(g, dy + start + size_t(t) * channels);
#pragma unroll
    for (unsigned c = 0; c < W; c++) {
      g[c] *= silu_slope<T>(z[c]);
      db[c] += g[c];
    }
    store_few(dz + start + size_t(t) * channels, g);
#pragma unroll
    for (unsigned j = 0; j < TAPS<W>; j++)
#pragma unroll
      for (unsigned c = 0; c < W; c++)
        if (j < taps) dw[j][c] += g[c] * window.x[j][c];
  });
  float *to = partial + size_t(blockIdx.x) * channels * (taps + 1);
#pragma unroll
  for (unsigned c = 0; c < W; c++) {
#pragma unroll
    for (unsigned j = 0; j < TAPS<W>; j++)
      if (j < taps) to[size_t(at.channel + c) * taps + j] = dw[j][c];
    to[size_t(channels) * taps + at.channel + c] = db[c];
  }
}

/// dx[t] = Σⱼ W[j]·dz[t + (K−1) − j].
template <unsigned W, class T>
__device__ __forceinline__ void backward(const T *dz, const float *w, T *dx, unsigned time, unsigned channels,
                                         unsigned taps) {
  Where at = where<W>(time);
  if (at.channel >= channels) return;
  Window<W> window;
  window.filters(w, at.channel, taps, true);
  // Of the window, x[j] is dz[t + j].
#pragma unroll
  for (unsigned j = 0; j < TAPS<W>; j++)
    input(window.x[j], dz, dz, at, int(j > 0 && j < taps ? at.first + j - 1 : time), time, channels, taps);
  T *to = dx + size_t(at.sequence) * time * channels + at.channel;
#pragma unroll(W == 4 ? 4 : 1)
  for (unsigned t = at.first; t < at.last; t++) {
    float now[W], sum[W] = {};
    input(now, dz, dz, at, int(t + taps - 1), time, channels, taps);
    window.push(now, taps);
    window.add(sum, taps);
    store_few(to + size_t(t) * channels, sum);
  }
}

}  // namespace v5::convolution

#define V5_SIZED(THREADS, NAME, S, T, W, TAPS) \
  KERNEL(THREADS, convolution_forward##NAME##_##S, \
         (const T *x, const float *w, const float *b, const T *tail, T *y, unsigned time, unsigned channels, \
          unsigned taps), \
         v5::convolution::forward<W>(x, w, b, tail, y, time, channels, TAPS)) \
  KERNEL(THREADS, convolution_slopes##NAME##_##S, \
         (const T *x, const float *w, const float *b, const T *tail, const T *dy, T *dz, float *partial, \
          unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::slopes<W>(x, w, b, tail, dy, dz, partial, time, channels, TAPS)) \
  KERNEL(THREADS, convolution_backward##NAME##_##S, \
         (const T *dz, const float *w, T *dx, unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::backward<W>(dz, w, dx, time, channels, TAPS))
#define V5_INSTANCES(S, T) \
  V5_SIZED(256, , S, T, 1, taps) \
  V5_SIZED(128, _4, S, T, 4, (void(taps), 4)) \
  KERNEL(256, convolution_tail_##S, \
         (const T *x, const T *before, T *after, unsigned batch, unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::tail(x, before, after, batch, time, channels, taps))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
#undef V5_SIZED
