// Normalisation by a warp (`norm.cu`), and of a single row by a block, for those who make something of it at once.
#pragma once

#include "vectors.cuh"

namespace v5::norm {

struct Moments {
  float mean, inverse;
};

/// As many elements as a lane takes at a time.
template <unsigned K> struct Few {
  static constexpr unsigned COUNT = K;
};

/// Whether a group's elements there may be read and written as whole packs.
template <class T> __device__ __forceinline__ bool whole(const T *from, unsigned size) {
  return size % Pack<T>::N == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
}

/// f(column, Few) for the columns of a group that are this lane's: 16 bytes at a time where they are `packed`.
template <class T, class F> __device__ __forceinline__ void each(unsigned size, bool packed, F f) {
  constexpr unsigned N = Pack<T>::N;
  unsigned lane = threadIdx.x % WARP;
  if (packed) {
    for (unsigned i = lane * N; i < size; i += WARP * N) f(i, Few<N>());
  } else {
#pragma unroll 1
    for (unsigned i = lane; i < size; i += WARP) f(i, Few<1>());
  }
}

template <class T>
__device__ __forceinline__ Moments moments(const T *x, unsigned size, bool packed, unsigned centred, float eps) {
  float sum = 0, square = 0;
  if (centred)
    each<T>(size, packed, [&](unsigned i, auto few) {
      float v[few.COUNT];
      load_few(v, x + i);
#pragma unroll
      for (unsigned e = 0; e < few.COUNT; e++) sum += v[e];
    });
  float mean = centred ? warp_sum(sum) / size : 0.0f;
  each<T>(size, packed, [&](unsigned i, auto few) {
    float v[few.COUNT];
    load_few(v, x + i);
#pragma unroll
    for (unsigned e = 0; e < few.COUNT; e++) square += (v[e] - mean) * (v[e] - mean);
  });
  return {mean, 1.0f / sqrtf(warp_sum(square) / size + eps)};
}

/// x̂·w + b of a single row, rounded as it would be stored: by all of a block. Every warp takes the moments of all of
/// x; f(column, value) gets each column once.
template <class T, class F>
__device__ __forceinline__ void by_block(const T *x, const float *w, const float *b, unsigned size, unsigned centred,
                                         float eps, F f) {
  Moments m = moments(x, size, whole(x, size), centred, eps);
  for (unsigned i = threadIdx.x; i < size; i += blockDim.x)
    f(i, narrow<T>((wide(x[i]) - m.mean) * m.inverse * w[i] + (b ? b[i] : 0.0f)));
}

}  // namespace v5::norm
