// GroundThink's learned gate (`src/ops/fusion.rs`): g = sigmoid(W [a; b] + c), y = x + g·a + (1 − g)·b.
//
// A warp per row: grid [rows/8], 256 threads, no shared memory. The gate's gradients are sums over rows weighted
// with dz, which `column_sums` makes.
#include "fusion.cuh"

namespace v5::fusion {

template <class T>
__device__ void forward(const T *x, const T *a, const T *b, const T *w, const float *c, T *y, unsigned rows,
                        unsigned d) {
  unsigned row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= rows) return;
  size_t at = size_t(row) * d;
  float g = gate(a + at, b + at, w, c, d);
  for (unsigned i = threadIdx.x % WARP; i < d; i += WARP)
    y[at + i] = narrow<T>(wide(x[at + i]) + g * wide(a[at + i]) + (1.0f - g) * wide(b[at + i]));
}

/// da, db, and dz of every row: the gradient of W [a; b] + c.
template <class T>
__device__ void backward(const T *a, const T *b, const T *w, const float *c, const T *dy, T *da, T *db, float *dz,
                         unsigned rows, unsigned d) {
  unsigned row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= rows) return;
  size_t at = size_t(row) * d;
  float g = gate(a + at, b + at, w, c, d), dg = 0;
  for (unsigned i = threadIdx.x % WARP; i < d; i += WARP)
    dg += wide(dy[at + i]) * (wide(a[at + i]) - wide(b[at + i]));
  float z = warp_sum(dg) * g * (1.0f - g);
  if (threadIdx.x % WARP == 0) dz[row] = z;
  for (unsigned i = threadIdx.x % WARP; i < d; i += WARP) {
    float slope = wide(dy[at + i]);
    da[at + i] = narrow<T>(g * slope + z * wide(w[i]));
    db[at + i] = narrow<T>((1.0f - g) * slope + z * wide(w[d + i]));
  }
}

}  // namespace v5::fusion

#define V5_INSTANCES(S, T) \
  KERNEL(256, fusion_forward_##S, \
         (const T *x, const T *a, const T *b, const T *w, const float *c, T *y, unsigned rows, unsigned d), \
         v5::fusion::forward(x, a, b, w, c, y, rows, d)) \
  KERNEL(256, fusion_backward_##S, \
         (const T *a, const T *b, const T *w, const float *c, const T *dy, T *da, T *db, float *dz, unsigned rows, \
          unsigned d), \
         v5::fusion::backward(a, b, w, c, dy, da, db, dz, rows, d))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
