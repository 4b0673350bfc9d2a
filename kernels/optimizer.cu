// AdamW with clipping by the global norm: all parameters in three launches and no word from the host
// (`src/train/optimizer.rs`).
//
// A job is a stretch of one parameter. Its row of the table, 32-bit words: place of its first element among the
// parameters (2 words), of its copy in bfloat16 (2; none: all bits set), elements, flags (1: weight decay, 2: of
// the RWKV-6 branch, 4: of the Mamba-2 branch), number of the parameter, first element within it. `gradients` has
// the address of every parameter's gradient (2 words; none: 0), and a parameter without one stays as it is.
//
// A record tells of one step: loss, norm, norm of the RWKV-6 branch, of the Mamba-2 branch, and whether all has
// gone well so far: 1, or 0 for ever after a loss or norm that is not finite. Nothing moves where it is 0.
#include "common.cuh"

namespace v5::optimizer {

constexpr unsigned WORDS = 8, RECORD = 5;

struct Job {
  const float *gradient;
  size_t place, copy;
  unsigned size, flags;
};

__device__ __forceinline__ size_t both(const unsigned *words) { return size_t(words[0]) | size_t(words[1]) << 32; }

__device__ __forceinline__ Job job(const unsigned *table, const unsigned *gradients) {
  const unsigned *w = table + size_t(blockIdx.x) * WORDS;
  auto gradient = reinterpret_cast<const float *>(both(gradients + 2 * size_t(w[6])));
  return {gradient ? gradient + w[7] : nullptr, both(w), both(w + 2), w[4], w[5]};
}

/// squares[i] = Σ g² of job i, in double as on a CPU: neither tiny nor huge gradients are lost. Grid [jobs], 256
/// threads, 64 bytes shared.
__device__ void squares(const unsigned *table, const unsigned *gradients, double *squares) {
  SHARED(raw);
  Job j = job(table, gradients);
  double sum = 0;
  if (j.gradient)
    for (unsigned i = threadIdx.x; i < j.size; i += blockDim.x) sum += double(j.gradient[i]) * j.gradient[i];
  sum = block_sum(sum, reinterpret_cast<double *>(raw));
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

/// Makes record `now` from record `before`, loss and squares. One block of 256 threads, 64 bytes shared.
__device__ void norms(const unsigned *table, const double *squares, const float *loss, float *records, unsigned now,
                      unsigned before, unsigned jobs) {
  SHARED(raw);
  double total[3] = {};
  for (unsigned i = threadIdx.x; i < jobs; i += blockDim.x) {
    unsigned flags = table[size_t(i) * WORDS + 5];
    total[0] += squares[i];
    if (flags & 2) total[1] += squares[i];
    if (flags & 4) total[2] += squares[i];
  }
  for (unsigned k = 0; k < 3; k++) total[k] = sqrt(block_sum(total[k], reinterpret_cast<double *>(raw)));
  if (threadIdx.x == 0) {
    float well = records[before * RECORD + 4];
    if (!(isfinite(loss[0]) && isfinite(float(total[0])))) well = 0;
    records[now * RECORD] = loss[0];
    for (unsigned k = 0; k < 3; k++) records[now * RECORD + 1 + k] = float(total[k]);
    records[now * RECORD + 4] = well;
  }
}

/// One step along the gradients. Grid [jobs], 256 threads.
__device__ void step(const unsigned *table, const unsigned *gradients, const float *records, unsigned now,
                     float *packed, bf16 *copies, unsigned n_low, unsigned n_high, float clip, float decay,
                     float beta1, float beta2, float rest1, float rest2, float lr, float correction, float eps) {
  const float *record = records + now * RECORD;
  Job j = job(table, gradients);
  if (record[4] != 1.0f || !j.gradient) return;
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

KERNEL(256, optimizer_squares_f32, (const unsigned *table, const unsigned *gradients, double *squares),
       v5::optimizer::squares(table, gradients, squares))
KERNEL(256, optimizer_norms_f32,
       (const unsigned *table, const double *squares, const float *loss, float *records, unsigned now,
        unsigned before, unsigned jobs),
       v5::optimizer::norms(table, squares, loss, records, now, before, jobs))
KERNEL(256, optimizer_step_f32,
       (const unsigned *table, const unsigned *gradients, const float *records, unsigned now, float *packed,
        bf16 *copies, unsigned n_low, unsigned n_high, float clip, float decay, float beta1, float beta2,
        float rest1, float rest2, float lr, float correction, float eps),
       v5::optimizer::step(table, gradients, records, now, packed, copies, n_low, n_high, clip, decay, beta1, beta2,
                           rest1, rest2, lr, correction, eps))
