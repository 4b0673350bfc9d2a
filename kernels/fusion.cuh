// The learned gate of `fusion.cu`, by a warp.
#pragma once

#include "common.cuh"

namespace v5::fusion {

/// sigmoid(W [a; b] + c) of a row, in every lane.
template <class T>
__device__ __forceinline__ float gate(const T *a, const T *b, const T *w, const float *c, unsigned d) {
  float sum = 0;
  for (unsigned i = threadIdx.x % WARP; i < d; i += WARP) sum += wide(a[i]) * wide(w[i]) + wide(b[i]) * wide(w[d + i]);
  return sigmoid(warp_sum(sum) + c[0]);
}

}  // namespace v5::fusion
