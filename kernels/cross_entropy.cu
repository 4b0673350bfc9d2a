// Cross-entropy of rows of logits, and its gradient in the same go (`src/ops/cross_entropy.rs`):
// loss = ln Σ exp(z) − z[target], dz = (softmax(z) − 1[target])·scale.
//
// Logits are float32, rows `stride` apart, because bfloat16 would cost a hundredth of a nat; dz has the type that
// the products behind it take. A block per row: grid [rows], 512 threads, 64 bytes shared.
#include "common.cuh"

namespace v5::cross_entropy {

template <class T>
__device__ void rows(const float *logits, const unsigned *targets, float *losses, T *dz, unsigned vocab,
                     unsigned stride, float scale) {
  SHARED(raw);
  float *scratch = reinterpret_cast<float *>(raw);
  const float *z = logits + size_t(blockIdx.x) * stride;
  unsigned target = targets[blockIdx.x], warps = blockDim.x / WARP;
  float most = -INFINITY;
  for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) most = larger(most, z[i]);
  most = warp_max(most);
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = most;
  __syncthreads();
  most = scratch[0];
  for (unsigned i = 1; i < warps; i++) most = larger(most, scratch[i]);
  __syncthreads();
  float sum = 0;
  for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) sum += expf(z[i] - most);
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + most - z[target];
  if (!dz) return;
  T *to = dz + size_t(blockIdx.x) * stride;
  float by = scale / sum;
  // Columns behind the vocabulary pad rows to whole tiles.
  for (unsigned i = threadIdx.x; i < stride; i += blockDim.x)
    to[i] = narrow<T>(i < vocab ? expf(z[i] - most) * by - (i == target ? scale : 0.0f) : 0.0f);
}

}  // namespace v5::cross_entropy

#define V5_INSTANCES(S, T) \
  KERNEL(512, cross_entropy_##S, \
         (const float *logits, const unsigned *targets, float *losses, T *dz, unsigned vocab, unsigned stride, \
          float scale), \
         v5::cross_entropy::rows(logits, targets, losses, dz, vocab, stride, scale))
V5_INSTANCES(f32, float)
V5_INSTANCES(bf16, bf16)
#undef V5_INSTANCES
