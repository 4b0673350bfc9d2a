// What kernels over many elements use: several at a time, and functions that are exact where activations are float32
// and fast where they are bfloat16.
#pragma once

#include "common.cuh"

/// K neighbours, 16 bytes at most, on as many bytes as they have; widened.
template <unsigned K, class T> __device__ __forceinline__ void load_few(float (&to)[K], const T *from) {
  alignas(K * sizeof(T)) T x[K];
  if constexpr (K * sizeof(T) == 16) *reinterpret_cast<uint4 *>(x) = *reinterpret_cast<const uint4 *>(from);
  else if constexpr (K * sizeof(T) == 8) *reinterpret_cast<uint2 *>(x) = *reinterpret_cast<const uint2 *>(from);
  else
    for (unsigned i = 0; i < K; i++) x[i] = from[i];
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(from) % sizeof(x)) emulate::fail("%zu bytes read at %p", sizeof(x), (const void *)from);
#endif
#pragma unroll
  for (unsigned i = 0; i < K; i++) to[i] = wide(x[i]);
}
template <unsigned K, class T> __device__ __forceinline__ void store_few(T *to, const float (&from)[K]) {
  alignas(K * sizeof(T)) T x[K];
#pragma unroll
  for (unsigned i = 0; i < K; i++) x[i] = narrow<T>(from[i]);
#ifdef V5_EMULATE
  if (reinterpret_cast<uintptr_t>(to) % sizeof(x)) emulate::fail("%zu bytes written at %p", sizeof(x), (void *)to);
#endif
  if constexpr (K * sizeof(T) == 16) *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(x);
  else if constexpr (K * sizeof(T) == 8) *reinterpret_cast<uint2 *>(to) = *reinterpret_cast<const uint2 *>(x);
  else
    for (unsigned i = 0; i < K; i++) to[i] = x[i];
}

/// N values of a vector of parameters, which may begin anywhere.
template <unsigned N> __device__ __forceinline__ void load_floats(float (&to)[N], const float *from) {
  if (N % 4 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll
    for (unsigned i = 0; i + 4 <= N; i += 4) {
      Pack<float> p = load_pack(from + i);
#pragma unroll
      for (unsigned e = 0; e < 4; e++) to[i + e] = p.x[e];
    }
  } else {
#pragma unroll
    for (unsigned i = 0; i < N; i++) to[i] = from[i];
  }
}

/// 2^x, to 2 units of the last place, subnormals as zero.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef V5_EMULATE
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// Of activations of type T: float is for exactness, bf16 for speed.
template <class T> __device__ __forceinline__ float sigmoid(float x) {
  if constexpr (sizeof(T) == 4) return 1.0f / (1.0f + expf(-x));
  else return __fdividef(1.0f, 1.0f + __expf(-x));
}
template <class T> __device__ __forceinline__ float silu(float x) { return x * sigmoid<T>(x); }
template <class T> __device__ __forceinline__ float silu_slope(float x) {
  float s = sigmoid<T>(x);
  return s * (1.0f + x * (1.0f - s));
}
