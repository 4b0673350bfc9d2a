// Products with a single row, which decoding makes all the time: reading the weights is all there is to do, so
// bias and residual go along. y = residual + x W + b; either of the two may be missing.
//
// W as [out, in]: a warp per output, grid [out/8], 256 threads. W as [in, out]: 32 outputs a block, 128 stretches
// of the input side by side, grid [out/32], 512 threads, 16 KB shared. `likeliest`: one block of 1,024, 8 KB shared.
#include "row.cuh"

namespace v5::linear {

/// A product's sums with what goes along, as `row.cuh` hands them over.
template <class T>
__device__ __forceinline__ auto finish(const float *b, const T *residual, T *y) {
  return [=](unsigned out, float sum) {
    y[out] = narrow<T>(sum + (b ? b[out] : 0.0f) + (residual ? wide(residual[out]) : 0.0f));
  };
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
         v5::row::out_in(x, w, inner, outer, v5::linear::finish(b, residual, y))) \
  KERNEL(512, row_in_out_##S, \
         (const T *x, const T *w, const float *b, const T *residual, T *y, unsigned inner, unsigned outer), \
         v5::row::in_out(x, w, inner, outer, v5::row::start(), v5::linear::finish(b, residual, y))) \
  KERNEL(1024, likeliest_##S, (const T *logits, unsigned *best, unsigned n), v5::linear::likeliest(logits, best, n))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
