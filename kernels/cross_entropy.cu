// Cross-entropy of rows of logits, and its gradient in the same go (`src/ops/cross_entropy.rs`):
// loss = ln Σ exp(z) − z[target], dz = (softmax(z) − 1[target])·scale.
//
// Logits are float32, rows `stride` apart, because bfloat16 would cost a hundredth of a nat; dz has the type that
// the products behind it take. Largest logit and sum come from one pass (Milakov & Gimelshein 2018, "Online
// normalizer calculation for softmax"), dz from a second. A block per row: grid [rows], up to 1,024 threads, 256
// bytes shared. So many threads with more than 32 registers have a multiprocessor to themselves: the rows under way
// are few enough for the second-level cache, where the second pass finds them.
//
// Rows begin on 256 bytes.
#include "vectors.cuh"

namespace v5::cross_entropy {

constexpr float LOG2E = 1.4426950408889634f;

/// exp(x − base), float32 being for exactness and bf16 for speed.
template <class T> __device__ __forceinline__ float exponential(float x, float base) {
  if constexpr (sizeof(T) == 4) return expf(x - base);
  else return exp2_fast(fmaf(x, LOG2E, -base * LOG2E));
}

/// Of some logits: the largest, which may pass over NaN, and Σ exp(z − largest), which does not.
struct Seen {
  float most, sum;
};

/// What exponents are taken from: where nothing but −∞ was seen, everything counts as nothing.
__device__ __forceinline__ float base_of(float most) { return most == -INFINITY ? 0.0f : most; }

template <class T> __device__ __forceinline__ Seen merged(Seen a, Seen b) {
  float most = fmaxf(a.most, b.most), base = base_of(most);
  return {most, a.sum * exponential<T>(a.most, base) + b.sum * exponential<T>(b.most, base)};
}

/// COUNT packs more, `apart` from one to the next.
template <class T, unsigned COUNT>
__device__ __forceinline__ void add(Seen &seen, const float *z, unsigned apart) {
  Pack<float> p[COUNT];
#pragma unroll
  for (unsigned i = 0; i < COUNT; i++) p[i] = load_pack(z + i * apart);
  float most = seen.most;
#pragma unroll
  for (unsigned i = 0; i < COUNT; i++)
#pragma unroll
    for (unsigned e = 0; e < 4; e++) most = fmaxf(most, p[i].x[e]);
  float base = base_of(most), sum = seen.sum * exponential<T>(seen.most, base);
#pragma unroll
  for (unsigned i = 0; i < COUNT; i++)
#pragma unroll
    for (unsigned e = 0; e < 4; e++) sum += exponential<T>(p[i].x[e], base);
  seen = {most, sum};
}

/// The whole row, known to every thread; `scratch` has room for two floats a warp.
template <class T> __device__ __forceinline__ Seen all_of(const float *z, unsigned vocab, float *scratch) {
  constexpr unsigned COUNT = 4;
  unsigned apart = 4 * blockDim.x, i = 4 * threadIdx.x, warps = blockDim.x / WARP;
  Seen seen = {-INFINITY, 0.0f};
#pragma unroll 1
  for (; i + (COUNT - 1) * apart + 4 <= vocab; i += COUNT * apart) add<T, COUNT>(seen, z + i, apart);
#pragma unroll 1
  for (; i + 4 <= vocab; i += apart) add<T, 1>(seen, z + i, apart);
  for (; i < vocab; i++) seen = merged<T>(seen, {z[i], 1.0f});
  for (unsigned mask = 16; mask > 0; mask /= 2) {
    float most = __shfl_xor_sync(ALL, seen.most, mask);
    seen = merged<T>(seen, {most, __shfl_xor_sync(ALL, seen.sum, mask)});
  }
  if (threadIdx.x % WARP == 0) {
    scratch[2 * (threadIdx.x / WARP)] = seen.most;
    scratch[2 * (threadIdx.x / WARP) + 1] = seen.sum;
  }
  __syncthreads();
  seen = {scratch[0], scratch[1]};
  for (unsigned w = 1; w < warps; w++) seen = merged<T>(seen, {scratch[2 * w], scratch[2 * w + 1]});
  return seen;
}

template <class T>
__device__ __forceinline__ void rows(const float *logits, const unsigned *targets, float *losses, T *dz,
                                     unsigned vocab, unsigned stride, float scale) {
  SHARED(raw);
  constexpr unsigned N = Pack<T>::N;
  const float *z = logits + size_t(blockIdx.x) * stride;
  unsigned target = targets[blockIdx.x];
  Seen seen = all_of<T>(z, vocab, reinterpret_cast<float *>(raw));
  if (threadIdx.x == 0) losses[blockIdx.x] = logf(seen.sum) + seen.most - z[target];
  if (!dz) return;
  T *to = dz + size_t(blockIdx.x) * stride;
  float by = scale / seen.sum;
  // Columns behind the vocabulary pad rows to whole tiles, and packs.
#pragma unroll 2
  for (unsigned i = threadIdx.x * N; i < stride; i += blockDim.x * N) {
    Pack<T> slopes;
    if (i + N <= vocab) {
#pragma unroll
      for (unsigned part = 0; part < N; part += 4) {
        Pack<float> p = load_pack(z + i + part);
#pragma unroll
        for (unsigned e = 0; e < 4; e++) slopes.x[part + e] = narrow<T>(exponential<T>(p.x[e], seen.most) * by);
      }
    } else {
#pragma unroll
      for (unsigned e = 0; e < N; e++)
        slopes.x[e] = narrow<T>(i + e < vocab ? exponential<T>(z[i + e], seen.most) * by : 0.0f);
    }
    store_pack(to + i, slopes);
    if (target - i < N) to[target] = narrow<T>(exponential<T>(z[target], seen.most) * by - scale);
  }
}

}  // namespace v5::cross_entropy

#define V5_INSTANCES(S, T) \
  KERNEL(1024, cross_entropy_##S, \
         (const float *logits, const unsigned *targets, float *losses, T *dz, unsigned vocab, unsigned stride, \
          float scale), \
         v5::cross_entropy::rows(logits, targets, losses, dz, vocab, stride, scale))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
