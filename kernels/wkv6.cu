// The kernels of RWKV-6's recurrence, from wkv6.cuh.
#define V5_WKV6 wkv6
#define V5_WKV6_PIECES(N) (N == 128 ? 2 : 4)
#include "wkv6.cuh"

extern "C" __global__ void __launch_bounds__(256)
wkv6_scan_f32(float *states, const float *decay, const float *start, float *last, unsigned chunks, unsigned n,
              unsigned padded) {
  unsigned element = blockIdx.x * 256 + threadIdx.x, i = element / padded, j = element % padded;
  size_t head = size_t(blockIdx.z) * gridDim.y + blockIdx.y, at = (head * n + i) * n + j;
  bool real = i < n && j < n;
  unsigned size = padded * padded;
  float state = v5::wkv6::scan<false>(real ? start[at] : 0.0f, states + head * chunks * size + element,
                                      decay + head * chunks * padded + i, chunks, size, padded);
  if (real) last[at] = state;
}
EXPORT(wkv6_scan_f32)

extern "C" __global__ void __launch_bounds__(256)
wkv6_scan_both_f32(float *states, float *gradients, const float *decay, const float *start, unsigned chunks,
                   unsigned n, unsigned padded) {
  unsigned element = blockIdx.x * 256 + threadIdx.x, i = element / padded, j = element % padded;
  size_t head = size_t(blockIdx.z / 2) * gridDim.y + blockIdx.y, at = (head * n + i) * n + j;
  unsigned size = padded * padded;
  size_t first = head * chunks * size + element;
  decay += head * chunks * padded + i;
  if (blockIdx.z % 2) v5::wkv6::scan<true>(0, gradients + first, decay, chunks, size, padded);
  else v5::wkv6::scan<false>(i < n && j < n ? start[at] : 0.0f, states + first, decay, chunks, size, padded);
}
EXPORT(wkv6_scan_both_f32)

#define BOUNDS(T, N, blocks) __launch_bounds__(v5::wkv6::THREADS<N>, v5::wkv6::BLOCKS<T, N, blocks>)
#define INSTANCES(T, t, N) \
  extern "C" __global__ void BOUNDS(T, N, 3) \
  wkv6_chunk_##N##_##t(const T *k, const T *v, const T *raw, float *states, float *decay, unsigned time, \
                       unsigned n) { \
    v5::wkv6::chunk<T, N, false>(k, k, v, raw, v, states, states, decay, time, n); \
  } \
  EXPORT(wkv6_chunk_##N##_##t) \
  extern "C" __global__ void BOUNDS(T, N, 3) \
  wkv6_chunk_both_##N##_##t(const T *r, const T *k, const T *v, const T *raw, const T *dy, float *states, \
                            float *gradients, float *decay, unsigned time, unsigned n) { \
    v5::wkv6::chunk<T, N, true>(r, k, v, raw, dy, states, gradients, decay, time, n); \
  } \
  EXPORT(wkv6_chunk_both_##N##_##t) \
  extern "C" __global__ void BOUNDS(T, N, 3) \
  wkv6_output_##N##_##t(const T *r, const T *k, const T *v, const T *raw, const float *u, const float *states, \
                        T *y, unsigned time, unsigned n) { \
    v5::wkv6::respond<T, N, false>(r, k, v, raw, u, states, y, time, n); \
  } \
  EXPORT(wkv6_output_##N##_##t) \
  extern "C" __global__ void BOUNDS(T, N, 3) \
  wkv6_dv_##N##_##t(const T *r, const T *k, const T *dy, const T *raw, const float *u, const float *gradients, \
                    T *dv, unsigned time, unsigned n) { \
    v5::wkv6::respond<T, N, true>(r, k, dy, raw, u, gradients, dv, time, n); \
  } \
  EXPORT(wkv6_dv_##N##_##t) \
  extern "C" __global__ void BOUNDS(T, N, 2) \
  wkv6_gradient_##N##_##t(const T *r, const T *k, const T *v, const T *raw, const float *u, const T *dy, \
                          const float *states, const float *gradients, T *dr, T *dk, T *draw, float *du, \
                          unsigned time, unsigned n) { \
    v5::wkv6::gradient<T, N>(r, k, v, raw, u, dy, states, gradients, dr, dk, draw, du, time, n); \
  } \
  EXPORT(wkv6_gradient_##N##_##t) \
  extern "C" __global__ void __launch_bounds__(256) \
  wkv6_step_##N##_##t(const T *r, const T *k, const T *v, const T *raw, const float *u, const float *state, T *y, \
                      float *last, unsigned time, unsigned n) { \
    v5::wkv6::step<T, N>(r, k, v, raw, u, state, y, last, time, n); \
  } \
  EXPORT(wkv6_step_##N##_##t) \
  extern "C" __global__ void __launch_bounds__(256) \
  wkv6_head_##N##_##t(const T *a, const T *w, const float *b, const T *r, const T *k, const T *v, const T *g, \
                      const float *u, const float *nw, const float *nb, const float *state, T *raw, T *y, \
                      float *last, unsigned rank, unsigned n, float eps) { \
    v5::wkv6::head<T, N>(a, w, b, r, k, v, g, u, nw, nb, state, raw, y, last, rank, n, eps); \
  } \
  EXPORT(wkv6_head_##N##_##t)

INSTANCES(float, f32, 16)
INSTANCES(float, f32, 32)
INSTANCES(float, f32, 64)
INSTANCES(float, f32, 128)
INSTANCES(bf16, bf16, 16)
INSTANCES(bf16, bf16, 32)
INSTANCES(bf16, bf16, 64)
INSTANCES(bf16, bf16, 128)

#undef INSTANCES
#undef BOUNDS
#undef V5_WKV6
#undef V5_WKV6_PIECES
