// RWKV-6's token shift and mixing (`src/ops/token_mix.rs`).
//
// Δ[t] = x[t−1] − x[t], x[−1] the tail. y_i = x + Δ·(μ_i + m_i) for up to five parts i, m_i [rows, d] the low-rank
// maps' outputs, all parts behind each other, or none.
//
// A thread per element: grid [rows·d/256], 256 threads, no shared memory. One pass makes all parts.
#include "common.cuh"

namespace v5::token_mix {

template <class T>
__device__ void shift_forward(const T *x, const T *tail, T *y, unsigned rows, unsigned d, unsigned time) {
  size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= size_t(rows) * d) return;
  unsigned row = at / d, col = at % d;
  float before = wide(row % time == 0 ? tail[size_t(row / time) * d + col] : x[at - d]);
  y[at] = narrow<T>(before - wide(x[at]));
}

template <class T> __device__ void shift_backward(const T *dy, T *dx, unsigned rows, unsigned d, unsigned time) {
  size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= size_t(rows) * d) return;
  unsigned row = at / d;
  float after = row % time + 1 < time ? wide(dy[at + d]) : 0.0f;
  dx[at] = narrow<T>(after - wide(dy[at]));
}

template <class P> struct Five {
  P part[5];
};

template <class T>
__device__ void mix_forward(const T *x, const T *delta, const T *m, Five<const float *> mu, Five<T *> y,
                            unsigned rows, unsigned d) {
  size_t n = size_t(rows) * d, at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n) return;
  float now = wide(x[at]), change = wide(delta[at]);
#pragma unroll
  for (unsigned i = 0; i < 5; i++)
    if (y.part[i]) {
      float by = mu.part[i][at % d] + (m ? wide(m[i * n + at]) : 0.0f);
      y.part[i][at] = narrow<T>(now + change * by);
    }
}

/// dx = Σ dy_i, dΔ = Σ dy_i·(μ_i + m_i), dm_i = dy_i·Δ (zeros where there is no dy_i).
template <class T>
__device__ void mix_backward(const T *delta, const T *m, Five<const float *> mu, Five<const T *> dy, T *dx,
                             T *ddelta, T *dm, unsigned rows, unsigned d, unsigned parts) {
  size_t n = size_t(rows) * d, at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n) return;
  float change = wide(delta[at]), sum = 0, along = 0;
#pragma unroll
  for (unsigned i = 0; i < 5; i++)
    if (i < parts) {
      float g = dy.part[i] ? wide(dy.part[i][at]) : 0.0f;
      sum += g;
      along += g * (mu.part[i][at % d] + (m ? wide(m[i * n + at]) : 0.0f));
      dm[i * n + at] = narrow<T>(g * change);
    }
  dx[at] = narrow<T>(sum);
  ddelta[at] = narrow<T>(along);
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
  KERNEL(256, mix_backward_##S, \
         (const T *delta, const T *m, const float *mu0, const float *mu1, const float *mu2, const float *mu3, \
          const float *mu4, const T *dy0, const T *dy1, const T *dy2, const T *dy3, const T *dy4, T *dx, \
          T *ddelta, T *dm, unsigned rows, unsigned d, unsigned parts), \
         v5::token_mix::mix_backward(delta, m, {{mu0, mu1, mu2, mu3, mu4}}, {{dy0, dy1, dy2, dy3, dy4}}, dx, \
                                     ddelta, dm, rows, d, parts))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
