// AdamW with clipping by the global norm, all parameters in three launches and no word from the host
// (`src/train/optimizer.rs`).
//
// A job is at most JOB elements of one parameter. Their table, one row per job: address of the gradient,
// place of the parameter in [p | m | v], place of its copy in bfloat16 (none: all bits set), elements, and flags
// (1: weight decay, 2: of the RWKV-6 branch, 4: of the Mamba-2 branch).
//
// `record` holds, for the step: loss, norm, norm of the RWKV-6 branch, of the Mamba-2 branch, and whether all went
// well so far (1, or 0 for ever after a loss or norm that is not finite). Nothing moves where it is 0.
#include "common.cuh"

namespace v5::optimizer {

struct Job {
  const float *gradient;
  size_t place, copy;
  unsigned size, flags;
};

/// A row of the table [jobs, 8] of 32-bit words.
__device__ __forceinline__ Job job(const unsigned *table, unsigned i) {
  const unsigned *w = table + size_t(i) * 8;
  auto both = [&](unsigned at) { return size_t(w[at]) | size_t(w[at + 1]) << 32; };
  return {reinterpret_cast<const float *>(both(0)), both(2), both(4), w[6], w[7]};
}

/// squares[i] = Σ g² of job i. Grid [jobs], 256 threads, 32 bytes shared.
__device__ void squares(const unsigned *table, float *squares) {
  SHARED(raw);
  Job j = job(table, blockIdx.x);
  float sum = 0;
  for (unsigned i = threadIdx.x; i < j.size; i += blockDim.x) sum += j.gradient[i] * j.gradient[i];
  sum = block_sum(sum, reinterpret_cast<float *>(raw));
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

/// Norms, in the order of jobs, and whether they and the loss are finite. One block of 256 threads, 32 bytes shared.
__device__ void norms(const unsigned *table, const float *squares, const float *loss, const float *before,
                      float *record, unsigned jobs) {
  SHARED(raw);
  float total[3] = {};
  for (unsigned i = threadIdx.x; i < jobs; i += blockDim.x) {
    unsigned flags = table[size_t(i) * 8 + 7];
    total[0] += squares[i];
    if (flags & 2) total[1] += squares[i];
    if (flags & 4) total[2] += squares[i];
  }
  for (unsigned k = 0; k < 3; k++) total[k] = sqrtf(block_sum(total[k], reinterpret_cast<float *>(raw)));
  if (threadIdx.x == 0) {
    bool well = before[4] == 1.0f && isfinite(loss[0]) && isfinite(total[0]);
    record[0] = loss[0];
    for (unsigned k = 0; k < 3; k++) record[1 + k] = total[k];
    record[4] = well ? 1.0f : 0.0f;
  }
}

/// One step along the gradients. Grid [jobs], 256 threads.
__device__ void step(const unsigned *table, const float *record, float *packed, bf16 *copies, unsigned n_low,
                     unsigned n_high, float clip, float decay, float beta1, float beta2, float rest1, float rest2,
                     float lr, float correction, float eps) {
  if (record[4] != 1.0f) return;
  Job j = job(table, blockIdx.x);
  size_t n = size_t(n_low) | size_t(n_high) << 32;
  float *p = packed + j.place, *m = p + n, *v = m + n;
  // As on the CPU: min(1, clip / (norm + 1e-6)).
  float scale = fminf(1.0f, clip / (record[1] + 1e-6f)), keep = j.flags & 1 ? decay : 1.0f;
  for (unsigned i = threadIdx.x; i < j.size; i += blockDim.x) {
    float g = j.gradient[i] * scale;
    float first = beta1 * m[i] + rest1 * g, second = beta2 * v[i] + rest2 * g * g;
    float next = p[i] * keep - lr * first / (sqrtf(second) / correction + eps);
    m[i] = first;
    v[i] = second;
    p[i] = next;
    if (~j.copy) copies[j.copy + i] = narrow<bf16>(next);
  }
}

}  // namespace v5::optimizer

KERNEL(256, optimizer_squares_f32, (const unsigned *table, float *squares),
       v5::optimizer::squares(table, squares))
KERNEL(256, optimizer_norms_f32,
       (const unsigned *table, const float *squares, const float *loss, const float *before, float *record,
        unsigned jobs),
       v5::optimizer::norms(table, squares, loss, before, record, jobs))
KERNEL(256, optimizer_step_f32,
       (const unsigned *table, const float *record, float *packed, bf16 *copies, unsigned n_low, unsigned n_high,
        float clip, float decay, float beta1, float beta2, float rest1, float rest2, float lr, float correction,
        float eps),
       v5::optimizer::step(table, record, packed, copies, n_low, n_high, clip, decay, beta1, beta2, rest1, rest2, lr,
                           correction, eps))
