// Mamba-2's short causal depth-wise convolution followed by SiLU (`src/ops/convolution.rs`):
// y[t] = SiLU(z[t]), z[t] = b + Σⱼ W[c, j]·x[t − (K−1) + j], x before the first position from the tail [B, K−1, C].
//
// A thread takes STEPS positions of one channel of one sequence, K inputs in registers. Grid [B·chunks, C/256],
// 256 threads, no shared memory. K at most 8.
#include "common.cuh"

namespace v5::convolution {

constexpr unsigned TAPS = 8, STEPS = 32;

struct Where {
  unsigned channel, sequence, first, last;
};

__device__ __forceinline__ Where where(unsigned time) {
  unsigned chunks = (time + STEPS - 1) / STEPS, first = blockIdx.x % chunks * STEPS;
  return {blockIdx.y * blockDim.x + threadIdx.x, blockIdx.x / chunks, first, min(first + STEPS, time)};
}

/// x at position t, which may lie before the start (the tail) or behind the end (zero).
template <class T>
__device__ __forceinline__ float input(const T *x, const T *tail, Where at, int t, unsigned time,
                                       unsigned channels, unsigned taps) {
  if (t >= int(time)) return 0.0f;
  if (t >= 0) return wide(x[(size_t(at.sequence) * time + t) * channels + at.channel]);
  return wide(tail[(size_t(at.sequence) * (taps - 1) + (taps - 1) + t) * channels + at.channel]);
}

/// f(t, z, window): z of every position of this thread, window[j] = x[t − (K−1) + j].
template <class T, class F>
__device__ __forceinline__ void each(const T *x, const float *w, const float *b, const T *tail, Where at,
                                     unsigned time, unsigned channels, unsigned taps, F f) {
  float filter[TAPS], window[TAPS];
#pragma unroll
  for (unsigned j = 0; j < TAPS; j++) {
    filter[j] = j < taps ? w[size_t(at.channel) * taps + j] : 0.0f;
    // The newest input enters at the top of the window when its position comes.
    window[j] = j > 0 && j < taps ? input(x, tail, at, int(at.first) - int(taps) + int(j), time, channels, taps) : 0.0f;
  }
  for (unsigned t = at.first; t < at.last; t++) {
    float z = b[at.channel];
#pragma unroll
    for (unsigned j = 0; j < TAPS; j++)
      if (j < taps) {
        window[j] = j + 1 < taps ? window[j + 1] : input(x, tail, at, int(t), time, channels, taps);
        z += filter[j] * window[j];
      }
    f(t, z, window, filter);
  }
}

template <class T>
__device__ void forward(const T *x, const float *w, const float *b, const T *tail, T *y, unsigned time,
                        unsigned channels, unsigned taps) {
  Where at = where(time);
  if (at.channel >= channels) return;
  each(x, w, b, tail, at, time, channels, taps, [&](unsigned t, float z, const float *, const float *) {
    y[(size_t(at.sequence) * time + t) * channels + at.channel] = narrow<T>(silu(z));
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
  after[i] = narrow<T>(input(x, before, at, t, time, channels, taps));
}

/// dz = dy·SiLU'(z), and this thread's part of dW and db: partial [B·chunks, C·(K+1)], db behind dW.
template <class T>
__device__ void slopes(const T *x, const float *w, const float *b, const T *tail, const T *dy, T *dz,
                       float *partial, unsigned time, unsigned channels, unsigned taps) {
  Where at = where(time);
  if (at.channel >= channels) return;
  float dw[TAPS] = {}, db = 0;
  each(x, w, b, tail, at, time, channels, taps, [&](unsigned t, float z, const float *window, const float *) {
    size_t i = (size_t(at.sequence) * time + t) * channels + at.channel;
    float g = wide(dy[i]) * silu_slope(z);
    dz[i] = narrow<T>(g);
#pragma unroll
    for (unsigned j = 0; j < TAPS; j++)
      if (j < taps) dw[j] += g * window[j];
    db += g;
  });
  float *to = partial + size_t(blockIdx.x) * channels * (taps + 1);
#pragma unroll
  for (unsigned j = 0; j < TAPS; j++)
    if (j < taps) to[size_t(at.channel) * taps + j] = dw[j];
  to[size_t(channels) * taps + at.channel] = db;
}

/// dx[t] = Σⱼ W[j]·dz[t + (K−1) − j]. A thread per element.
template <class T>
__device__ void backward(const T *dz, const float *w, T *dx, unsigned rows, unsigned time, unsigned channels,
                         unsigned taps) {
  size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(rows) * channels) return;
  unsigned t = i / channels % time, channel = i % channels;
  float sum = 0;
  for (unsigned j = 0; j < taps; j++) {
    unsigned later = taps - 1 - j;
    if (t + later < time) sum += w[size_t(channel) * taps + j] * wide(dz[i + size_t(later) * channels]);
  }
  dx[i] = narrow<T>(sum);
}

}  // namespace v5::convolution

#define V5_INSTANCES(S, T) \
  KERNEL(256, convolution_forward_##S, \
         (const T *x, const float *w, const float *b, const T *tail, T *y, unsigned time, unsigned channels, \
          unsigned taps), \
         v5::convolution::forward(x, w, b, tail, y, time, channels, taps)) \
  KERNEL(256, convolution_tail_##S, \
         (const T *x, const T *before, T *after, unsigned batch, unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::tail(x, before, after, batch, time, channels, taps)) \
  KERNEL(256, convolution_slopes_##S, \
         (const T *x, const float *w, const float *b, const T *tail, const T *dy, T *dz, float *partial, \
          unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::slopes(x, w, b, tail, dy, dz, partial, time, channels, taps)) \
  KERNEL(256, convolution_backward_##S, \
         (const T *dz, const float *w, T *dx, unsigned rows, unsigned time, unsigned channels, unsigned taps), \
         v5::convolution::backward(dz, w, dx, rows, time, channels, taps))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
